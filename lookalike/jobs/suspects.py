"""Pictures that may have ended the embedder, by their hash, in Redis: shared by all workers and gateways.

When a call's connection breaks, any picture of the call may have ended the embedder, or none of them: its node may have gone.
So all pictures of the call become *suspects*. A suspect is tried alone: as the only picture of its call, without another
suspect at any embedder meanwhile (`alone`), and right after the embedder has answered for a picture that is known to be good.
An answer acquits the suspect. A suspect that ended the embedder `MOST_DEATHS` times in this way is not sent again for `KEPT_S`.

A good picture fails only where something else ends the embedder within its own call, `MOST_DEATHS` times in a row. Its call
takes some .05 s. Where the embedder is killed every 10 s that is (.05 / 10)^3, one in eight million suspects. An embedder that
is away, starts, refuses or fails with the good picture too is no evidence, so that an outage fails nothing.

Counters only, and bounded: `MOST_KEPT` names of 40 bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from lookalike.errors import BadImage
from lookalike.jobs.connection import RedisConnection
from lookalike.jobs.locks import write_lock

MOST_DEATHS = 3
"""Bounds the deaths of the embedder by one picture alone. Each death costs every caller a restart."""
KEPT_S = 3600.0
"""The time that a picture is remembered after the last death that it may have caused. A fixed embedder gets it again then."""
MOST_KEPT = 20_000
"""Bounds the suspects; the oldest are dropped first. A death leaves a few hundred, which are acquitted within seconds."""
BREAKS_EMBEDDER = "IMAGE_BREAKS_EMBEDDER"
"""Reason of a picture that is no longer sent to the embedder."""
KNOWN_GOOD = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000008000000080800000000e164e157000000174944415478da636460810046052883851406e303"
    "28030047580298239af1d50000000049454e44ae426082"
)
"""A PNG of 8 x 8 grey pixels: an embedder that cannot embed it is broken, whatever other pictures it gets."""
_FOUND, _SEEN = "lookalike:suspects", "lookalike:suspects:seen"
_LOCK = "suspects"
_LOCK_TTL_S = 5.0


class Suspects:
    """Suspects of one `kind` of work: a picture may be embedded well and still break the making of thumbnails. Thread-safe.
    Every method raises `Unavailable` where Redis does not answer."""

    def __init__(self, connection: RedisConnection, kind: str = "embed", *, kept_s: float = KEPT_S) -> None:
        self._redis, self._kind, self._kept_ms = connection, kind, int(kept_s * 1000)

    def deaths(self, hashes: Sequence[str]) -> list[int | None]:
        """The deaths of the embedder by each picture alone; None for a picture that is not suspected. `hashes` are SHA-256,
        hex."""
        if not hashes:
            return []
        found = self._redis.run("suspected", self._kept_ms, *map(self._name, hashes))
        return [None if deaths < 0 else deaths for deaths in found]

    def refused(self) -> dict[str, int]:
        """Every picture that has ended the embedder too often, by the kept part of its hash, with its deaths."""
        with self._redis.commands() as client:
            if not client.exists(_FOUND):
                return {}
            now_s, _ = client.time()
            names = client.zrangebyscore(_SEEN, now_s * 1000 - self._kept_ms, "+inf")
            mine = [name for name in names if name.startswith(f"{self._kind}:")]
            deaths = client.hmget(_FOUND, mine) if mine else []
        counted = {name.partition(":")[2]: int(found or 0) for name, found in zip(mine, deaths, strict=True)}
        return {name: found for name, found in counted.items() if found >= MOST_DEATHS}

    def add(self, hashes: Sequence[str]) -> None:
        """Suspect pictures that were at an embedder together when it died."""
        self._grow(hashes, 0)

    def died(self, sha256: str) -> int:
        """Count a death by a picture that was alone; return the number of its deaths."""
        return self._grow([sha256], 1)[0]

    def acquit(self, sha256: str) -> None:
        """Acquit a picture: the embedder has answered for it."""
        self._redis.run("acquit", self._name(sha256))

    def alone(self, *, timeout_s: float) -> AbstractContextManager[Callable[[], bool]]:
        """Hold the right to try a suspect, the only one in the system. Raises `Unavailable` after `timeout_s` of waiting."""
        return write_lock(self._redis, _LOCK, timeout_s=timeout_s, ttl_s=_LOCK_TTL_S)

    def _grow(self, hashes: Sequence[str], growth: int) -> list[int]:
        return [int(now) for now in self._redis.run("suspect", self._kept_ms, MOST_KEPT, growth, *map(self._name, hashes))]

    def _name(self, sha256: str) -> str:
        return f"{self._kind}:{kept_part(sha256)}"


def kept_part(sha256: str) -> str:
    """The kept part of a picture's hash: 128 bits, so that no other picture is taken for it."""
    return sha256[:32]


def breaks_embedder() -> BadImage:
    """The error of a picture that is no longer sent to the embedder."""
    problem = (
        f"the embedder died or did not answer each of the {MOST_DEATHS} times that it was given this picture alone; "
        f"it is not tried again for {KEPT_S / 60:.0f} minutes"
    )
    return BadImage(problem, reason=BREAKS_EMBEDDER)
