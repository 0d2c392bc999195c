"""What the bench measures: every row with its bounds, how a row's two sides are measured, and what its figures come to.

Owns the interleaving, the medians, the verdicts, the JSON and the exit code. The modules beside it measure a group of rows each
and hand what they measured to `Findings`; `report` shows it. Standard library only.
"""

from __future__ import annotations

import enum
import json
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

REACHED, SHORT, NOT_MEASURED = 0, 1, 3
"""Exit codes: every must reached; some row falls short; some row could not be measured and none falls short. (2 is argparse's
for a wrong option.)"""


class Verdict(enum.Enum):
    """How a ratio stands to its bounds."""

    AIM = "aim reached"
    MUST = "must reached"
    SHORT = "falls short"


@dataclass(frozen=True, slots=True)
class Spec:
    """A row before it is measured. `must` and `aim` bound ours / limit, from below where `better` is `higher`."""

    name: str
    group: str
    title: str
    must: float
    aim: float
    better: Literal["higher", "lower"]
    unit: str

    def verdict(self, ratio: float) -> Verdict:
        """How `ratio` stands to the bounds; what is exactly on a bound has reached it."""
        for bound, verdict in ((self.aim, Verdict.AIM), (self.must, Verdict.MUST)):
            if ratio >= bound if self.better == "higher" else ratio <= bound:
                return verdict
        return Verdict.SHORT


# The bounds of the rows down to `memory` are those that were set for the product before it was measured. Those of the overload
# rows say in figures what was asked for in words: refused within 50 ms, accepted calls keep their p99, memory stays flat, and
# full rate one second after the load ended; the room they leave is what two cores that are shared scatter by.
SPECS = (
    Spec("ready", "start", "READY after start, photo tower / importing TensorFlow and loading it", 1.5, 1.15, "lower", "s"),
    Spec("memory", "start", "embedder's resident memory / that of TensorFlow with the tower loaded", 1.3, 1.1, "lower", "MiB"),
    Spec("decode_640x480", "decode", "decoding 640x480 as served / full Pillow decode", 1.5, 1.9, "higher", "images/s"),
    Spec("decode_2000x1500", "decode", "decoding 2000x1500 as served / full Pillow decode", 3.0, 3.5, "higher", "images/s"),
    Spec("batcher_fashion", "batcher", "batcher, 64 callers / bare tiny tower at batch 32", 0.75, 0.85, "higher", "images/s"),
    Spec("batcher_photo", "batcher", "batcher, 64 callers / bare photo tower at batch 32", 0.90, 0.95, "higher", "images/s"),
    Spec("embedder_1_a_call", "embedder", "gRPC, 64 callers, 1 image each / same in process", 0.80, 0.92, "higher", "images/s"),
    Spec("embedder_32_a_call", "embedder", "gRPC, 32 images a call / same in process", 0.95, 1.0, "higher", "images/s"),
    Spec("overload_refusal", "overload", "p99 from handler to refusal, 1,000 callers / 50 ms", 1.0, 0.5, "lower", "ms"),
    Spec("overload_accepted", "overload", "p99 of what is accepted, 1,000 callers / full queue", 1.25, 1.1, "lower", "ms"),
    Spec("overload_memory", "overload", "resident memory at most, 1,000 callers / full queue", 1.1, 1.03, "lower", "MiB"),
    Spec("overload_recovery", "overload", "rate from 1 s after the overload / before it", 0.9, 1.0, "higher", "images/s"),
    Spec("bulk_ingest", "system", "bulk ingest / embedder alone at 32 a call", 0.75, 0.90, "higher", "images/s"),
    Spec("recall_fashion", "system", "recall@10 of fashion vectors / exact search", 0.97, 0.99, "higher", "share"),
    Spec("recall_photo", "system", "recall@10 of photo-like vectors / exact search", 0.97, 0.99, "higher", "share"),
    Spec("gateway_lone_query", "system", "p50 of a lone query / (embed leg + search leg alone)", 1.20, 1.08, "lower", "ms"),
    Spec("end_to_end", "system", "p50 of a lone photo query, end to end / the legs' floor", 1.35, 1.15, "lower", "ms"),
    Spec("vector_search", "system", "gateway by vector, 32 callers / pymilvus alone", 0.70, 0.90, "higher", "queries/s"),
)  # fmt: skip
GROUPS = tuple(dict.fromkeys(spec.group for spec in SPECS))
_BY_NAME = {spec.name: spec for spec in SPECS}


@dataclass(frozen=True, slots=True)
class Row:
    """A measured row. `ours_rounds` and `limit_rounds` are what every round gave, in the spec's unit."""

    spec: Spec
    ours_rounds: tuple[float, ...]
    limit_rounds: tuple[float, ...]

    @property
    def ours(self) -> float:
        return statistics.median(self.ours_rounds)

    @property
    def limit(self) -> float:
        return statistics.median(self.limit_rounds)

    @property
    def ratio(self) -> float:
        return self.ours / self.limit

    @property
    def verdict(self) -> Verdict:
        return self.spec.verdict(self.ratio)

    @property
    def spread(self) -> tuple[float, float] | None:
        """The quartiles of the ratios of the rounds taken one by one: how much the run scattered. None for a single round."""
        ratios = [ours / limit for ours, limit in zip(self.ours_rounds, self.limit_rounds, strict=True)]
        if len(ratios) < 2:
            return None
        first, _, third = statistics.quantiles(ratios, n=4, method="inclusive")
        return first, third


@dataclass(slots=True)
class Findings:
    """What a run has found so far. `notes` are lines for people: figures that stand beside a row and have no bound."""

    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    """Rows that could not be measured, by name, each with the reason."""

    def add(self, name: str, ours: Iterable[float], limit: Iterable[float]) -> Row:
        """Both sides of the row called `name`, round by round."""
        row = Row(_BY_NAME[name], tuple(ours), tuple(limit))
        self.rows.append(row)
        return row

    def note(self, line: str) -> None:
        self.notes.append(line)

    def miss(self, group: str, reason: str) -> None:
        """What `group` has not measured until now, it could not: for `reason`."""
        there = {row.spec.name for row in self.rows}
        self.missing |= {spec.name: reason for spec in SPECS if spec.group == group and spec.name not in there}

    @property
    def exit_code(self) -> int:
        if any(row.verdict is Verdict.SHORT for row in self.rows):
            return SHORT
        return NOT_MEASURED if self.missing else REACHED

    def as_json(self) -> str:
        """A list of rows, each `{name, ours, limit, ratio, must, aim, better, unit}`."""
        return json.dumps([_plain(row) for row in self.rows], indent=1) + "\n"

    def rounds_as_json(self) -> str:
        """Every round of every row, by name: what the medians were taken of."""
        rounds = {row.spec.name: {"ours": row.ours_rounds, "limit": row.limit_rounds} for row in self.rows}
        return json.dumps(rounds, indent=1) + "\n"


def interleaved(
    ours: Callable[[], float], limit: Callable[[], float], rounds: int, *, warm_up: bool = True
) -> tuple[list[float], list[float]]:
    """Measure `ours` and `limit` in turn, `rounds` times: whatever else the machine does meets both alike.

    With `warm_up` each is run once before, and what it gives is dropped.
    """
    if warm_up:
        ours()
        limit()
    pairs = [(ours(), limit()) for _ in range(rounds)]
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def p99(values: Sequence[float]) -> float:
    """The value that 99 of 100 do not exceed."""
    return sorted(values)[max(0, -(-len(values) * 99 // 100) - 1)]


def _plain(row: Row) -> dict[str, str | float]:
    spec = row.spec
    return {
        "name": spec.name,
        "ours": row.ours,
        "limit": row.limit,
        "ratio": row.ratio,
        "must": spec.must,
        "aim": spec.aim,
        "better": spec.better,
        "unit": spec.unit,
    }
