"""Rows of an overload: 1,000 callers against an embedder whose queue takes 256, each waiting as long as a refusal says.

In each round: as many callers as the queue takes, then 1,000, then again as many as it takes, each after a second of nobody.
What recovers begins with an idle server, which holds no work that is half done: a phase that begins so before the overload is
what it is compared with.
How long a refusal takes from entering the handler is the embedder's own metric, `lookalike_rpc_seconds`; everything else is
what the callers see. They are coroutines of this process, on the same cores.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
import urllib.request
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import grpc
import grpc.aio
import psutil
from grpc_status import rpc_status
from prometheus_client.parser import text_string_to_metric_families

from embedder.models.bundle import SHIPPED
from lookalike.errors import LookalikeError, Overloaded
from lookalike.runtime.channels import open_aio_channel
from lookalike.v1 import embedder_service_pb2 as embedder_pb2
from lookalike.wire.status import from_rpc_error
from tests.bench import callers
from tests.bench.inputs import fashion_queries
from tests.bench.rows import Findings, p99
from tests.bench.scales import Scale
from tests.messages import asked_spaces
from tests.servers.processes import free_port
from tests.servers.worker import EmbedderProcess

MANY, QUEUE = 1000, 256
REFUSAL_MS = 50.0
"""From entering the handler to the refusal, at most."""
QUIET_S = 1.0
"""After each phase, so that none begins with what the one before left in the queue. `overload_recovery` means just this."""
_RAMP_S, _WINDOW_S = 2.0, 4.0
"""The ramp and the window of a phase. A full queue of the tiny tower is about one second of work: the first to come find it
empty and do not count."""
_CHANNELS = 8
_LATER = 0.25
"""The longest that callers wait beyond the time of a refusal, so that they do not come all at once."""
_SAMPLE_S = 0.1
_METHOD = "lookalike.v1.EmbedderService/Embed"
_Embed: TypeAlias = "grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]"  # a string: generic only in the type stubs


@dataclass(slots=True)
class Phase:
    """What callers saw in one phase; times in milliseconds. `without_advice`: refusals that did not say when to come back."""

    accepted_ms: list[float] = field(default_factory=list)
    refused_ms: list[float] = field(default_factory=list)
    without_advice: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    rate: float = 0.0
    most_mib: float = 0.0


@dataclass(slots=True)
class Rounds:
    """The phases of every round, and each round's p99 of refusals in the handler, in milliseconds."""

    before: list[Phase] = field(default_factory=list)
    full: list[Phase] = field(default_factory=list)
    overloaded: list[Phase] = field(default_factory=list)
    after: list[Phase] = field(default_factory=list)
    handler_ms: list[float] = field(default_factory=list)


def measure(scale: Scale, findings: Findings) -> None:
    port = free_port()
    more = {"EMBEDDER_QUEUE_IMAGES": str(QUEUE), "EMBEDDER_QUEUE_CALLS": str(QUEUE), "EMBEDDER_METRICS_PORT": str(port)}
    with tempfile.TemporaryDirectory(prefix="lookalike-bench-") as name:
        embedder = EmbedderProcess(Path(name), models=(SHIPPED / "fashion",), more=more)
        embedder.start()
        try:
            rounds = asyncio.run(_rounds(embedder, port, scale))
        finally:
            embedder.stop()
    findings.add("overload_refusal", rounds.handler_ms, [REFUSAL_MS] * len(rounds.handler_ms))
    findings.add("overload_accepted", map(_accepted_p99, rounds.overloaded), map(_accepted_p99, rounds.full))
    findings.add("overload_memory", (one.most_mib for one in rounds.overloaded), (one.most_mib for one in rounds.full))
    findings.add("overload_recovery", (one.rate for one in rounds.after), (one.rate for one in rounds.before))
    _note(rounds, findings)


def _note(rounds: Rounds, findings: Findings) -> None:
    refused = [ms for one in rounds.overloaded for ms in one.refused_ms]
    accepted = sum(len(one.accepted_ms) for one in rounds.overloaded)
    if refused:
        middle = sorted(refused)[len(refused) // 2]
        findings.note(
            f"overload: callers saw a refusal after {middle:.0f} ms at p50, {p99(refused):.0f} ms at p99; "
            f"{len(refused):,} refused, {accepted:,} accepted"
        )
    bare = sum(one.without_advice for one in rounds.overloaded)
    if bare:
        findings.note(f"overload: {bare:,} refusals came without RetryInfo, from gRPC itself and not from the handler")
    others = sum((one.errors for one in rounds.overloaded), Counter[str]())
    if others:
        findings.note("overload: other errors: " + ", ".join(f"{count:,} {code}" for code, count in others.items()))
    at_most = max(rounds.before + rounds.full + rounds.after, key=lambda one: len(one.refused_ms))
    if at_most.refused_ms:
        findings.note(f"overload: with a queue just full, up to {len(at_most.refused_ms):,} calls of a phase were refused")


async def _rounds(embedder: EmbedderProcess, port: int, scale: Scale) -> Rounds:
    assert embedder.process is not None
    rounds, process = Rounds(), psutil.Process(embedder.process.pid)
    image = fashion_queries().png(0)
    request = embedder_pb2.EmbedRequest(spaces=asked_spaces("siamese", model="fashion"), images=[image]).SerializeToString()
    channels = [open_aio_channel(embedder.target) for _ in range(_CHANNELS)]
    embeds: list[_Embed] = [channel.unary_unary(callers.EMBED) for channel in channels]
    try:
        for _ in range(scale.overloads):
            rounds.full.append(await _phase(embeds, request, QUEUE, process))
            rounds.before.append(await _phase(embeds, request, QUEUE, process, ramp_s=0.0))
            before = _refusals(port)
            rounds.overloaded.append(await _phase(embeds, request, MANY, process))
            rounds.handler_ms.append(_p99_ms(before, _refusals(port)))
            rounds.after.append(await _phase(embeds, request, QUEUE, process, ramp_s=0.0))
    finally:
        for channel in channels:
            await channel.close(None)
    return rounds


async def _phase(embeds: list[_Embed], request: bytes, many: int, process: psutil.Process, *, ramp_s: float = _RAMP_S) -> Phase:
    """`many` callers, then none for a second. Only calls that ended after `ramp_s` count."""
    phase, from_s = Phase(), time.perf_counter() + ramp_s
    until_s = from_s + _WINDOW_S
    calls = [asyncio.ensure_future(_caller(embeds[n % len(embeds)], request, phase, from_s)) for n in range(many)]
    while time.perf_counter() < until_s:
        await asyncio.sleep(_SAMPLE_S)
        phase.most_mib = max(phase.most_mib, process.memory_info().rss / 2**20)
    phase.rate = len(phase.accepted_ms) / (time.perf_counter() - from_s)
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    await asyncio.sleep(QUIET_S)
    return phase


async def _caller(embed: _Embed, request: bytes, phase: Phase, from_s: float) -> None:
    while True:
        begun_s, wait_s = time.perf_counter(), 0.0
        refusal: LookalikeError | None = None
        try:
            await embed(request, timeout=callers.CALL_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            refusal = from_rpc_error(error, "embedder")
            advised = rpc_status.from_call(error) is not None
            wait_s = (refusal.retry_after_s or 1.0) * (1 + _LATER * random.random())
        ended_s = time.perf_counter()
        if ended_s >= from_s:
            if refusal is None:
                phase.accepted_ms.append(1000 * (ended_s - begun_s))
            elif isinstance(refusal, Overloaded):
                phase.refused_ms.append(1000 * (ended_s - begun_s))
                phase.without_advice += not advised
            else:
                phase.errors[refusal.reason] += 1
        await asyncio.sleep(wait_s)


def _accepted_p99(phase: Phase) -> float:
    return p99(phase.accepted_ms)


def _refusals(port: int) -> dict[float, float]:
    """The refusals by the seconds that they took in the handler at most, for each bucket of the metric."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    return {
        float(sample.labels["le"]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "lookalike_rpc_seconds_bucket"
        and sample.labels["method"] == _METHOD
        and sample.labels["code"] == "RESOURCE_EXHAUSTED"
    }


def _p99_ms(before: dict[float, float], after: dict[float, float]) -> float:
    """The upper bound of the bucket that the p99 lies in: at most so long."""
    counts = {le: after[le] - before.get(le, 0.0) for le in after}
    total = counts.get(float("inf"), 0.0)
    assert total, "nobody was refused: this was no overload"
    return 1000 * min(le for le, count in counts.items() if count >= 0.99 * total)
