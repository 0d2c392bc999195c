"""What is served now: versions of models by name and fingerprint, and which of them each name means.

`Serving` holds one snapshot that never changes and is swapped as a whole, so that a call sees one state and takes no lock. A
call keeps the version that it found, and so does every picture of it that waits: a version that is taken out of service
meanwhile answers what it was asked and is freed after that. Asked by `embedder.serving.service`, changed by
`embedder.serving.watching`.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from prometheus_client import Gauge

from embedder.models.bundle import Bundle
from embedder.models.model import ON_CPU, Execution, Model
from embedder.pictures.decode import MAX_SIDE, TowerInput
from embedder.serving.spaces import CompileTower, TracedModel
from lookalike.errors import FingerprintMismatch, InvalidArgument, LookalikeError, NotFound, Unavailable
from lookalike.spaces import SIAMESE, ModelSettings, Space

MODELS = Gauge(
    "lookalike_embedder_model_info",
    "1 for each version of a model that is served; `current` says whether its name means it now.",
    ("model", "fingerprint", "current"),
)

NOT_LOADED = Gauge(
    "lookalike_embedder_model_not_loaded",
    "Versions of a model that ought to be served and are not, by reason: LOADING while they are read and warmed up, UNREADABLE "
    "where what the registry says of the model cannot be read, else what loading them met.",
    ("model", "reason"),
)

Key = tuple[str, str]
"""A model's name and the fingerprint of one version of it."""


@dataclass(frozen=True, slots=True, eq=False)
class Served:
    """A version at work, and its fingerprint, which takes a hash over all weights: too long for every call."""

    bundle: Bundle
    fingerprint: str
    traced: TracedModel

    @property
    def key(self) -> Key:
        return self.bundle.name, self.fingerprint

    @property
    def tower_input(self) -> TowerInput:
        tower = self.bundle.tower
        return TowerInput(tower.input_size, tower.channels, self.bundle.input.fit)

    def space(self, name: str) -> Space:
        """The space called `name` that it fills."""
        kind = ModelSettings(self.bundle.name)
        return Space(name, self.bundle.tower.embedding_dim, kind.metric, self.fingerprint, kind)


def build_served(
    bundle: Bundle, largest_batch: int, compile_tower: CompileTower | None = None, execution: Execution = ON_CPU
) -> Served:
    """Build the tower of `bundle` and trace it, for batches up to `largest_batch`, or have it compiled by another engine than
    TensorFlow; it is still to be warmed up. Takes seconds.

    Raises `InvalidArgument` for a tower that sees more than is ever decoded, or that the weights do not fit, and what
    `compile_tower` does.
    """
    if bundle.tower.input_size > MAX_SIDE:
        raise InvalidArgument("bundle", f"{bundle.name!r} wants {bundle.tower.input_size} pixels; at most {MAX_SIDE} are given")
    traced = TracedModel(Model(bundle, execution.precision), largest_batch, compile_tower, execution)
    return Served(bundle, bundle.fingerprint, traced)


@dataclass(frozen=True, slots=True)
class Unserved:
    """Why a version that ought to be served is not: `reason` as errors have it, `why` the end of a sentence for people."""

    reason: str
    why: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is served at one moment. `current` is what a name means; `awaited` holds versions that ought to be served and are
    not, each with the reason; `complete` says whether it is known what ought to be served, but for the names in `unknown`."""

    versions: Mapping[Key, Served]
    current: Mapping[str, Key]
    awaited: Mapping[Key, Unserved] = field(default_factory=dict)
    complete: bool = True
    unknown: frozenset[str] = frozenset()


class Serving:
    """`fixed`: versions that are always served, one a name, the default model first. With a registry, `complete` is False until
    `expect` was called. Thread-safe."""

    def __init__(self, fixed: Sequence[Served], *, complete: bool = True) -> None:
        self.default = fixed[0].bundle.name
        self._fixed = {one.bundle.name: one.key for one in fixed}
        self._changing = threading.Lock()
        self._look: Callable[[], bool] = lambda: True
        self._now = Snapshot({}, {}, complete=complete)
        self._swap(replace(self._now, versions={one.key: one for one in fixed}, current=self._fixed))

    def find(self, name: str, fingerprint: str = "", *, space: str = SIAMESE, field: str = "model") -> Served:
        """The version of model `name` with this fingerprint; without one, what the name means now. `space` is the space that it
        is to fill and `field` the request's field that names it, both for errors.

        Raises `NotFound` for an unknown name, `FingerprintMismatch` for a version that is not served, `Unavailable`
        for one that ought to be and is not yet.
        """
        served = _found(self._now, name, fingerprint)
        if served is None:
            looked = self._look()
            now = self._now
            served = _found(now, name, fingerprint)
            if served is None:
                raise _missing(now, name, fingerprint, looked=looked, space=space, field=field)
        return served

    def __iter__(self) -> Iterator[tuple[Served, bool]]:
        """Every version with whether its name means it: the default model's current one, other current ones, the rest."""
        now = self._now
        current = sorted(now.current, key=lambda name: (name != self.default, name))
        yield from ((now.versions[now.current[name]], True) for name in current)
        yield from ((one, False) for key, one in now.versions.items() if now.current.get(key[0]) != key)

    def __contains__(self, key: Key) -> bool:
        return key in self._now.versions

    def look_before_refusing(self, look: Callable[[], bool]) -> None:
        """Call `look` before a version is said not to be served: the version may have been promoted a moment ago. `look`
        says whether it could find out what ought to be served now."""
        self._look = look

    def expect(self, awaited: Mapping[Key, Unserved], *, unknown: Iterable[str] = (), complete: bool = True) -> None:
        """Set which versions ought to be served and are not (`awaited`, each with the reason). Further versions may exist of
        the names in `unknown`, whose records cannot be read, and where not even the names are known (not `complete`)."""
        with self._changing:
            self._swap(replace(self._now, awaited=dict(awaited), complete=complete, unknown=frozenset(unknown)))

    def note_unserved(self, key: Key, unserved: Unserved) -> None:
        """Set the reason why this version, which ought to be served, is not."""
        with self._changing:
            self._swap(replace(self._now, awaited={**self._now.awaited, key: unserved}))

    @property
    def awaited(self) -> Mapping[Key, Unserved]:
        """What ought to be served and is not, each with the reason."""
        return self._now.awaited

    def add(self, served: Served, *, current: bool = False) -> None:
        """Serve this version too, by its fingerprint, and from the same moment by its name if it is the `current` one: a caller
        must never meet a version that is not awaited any more and not meant yet. The version must be warm."""
        with self._changing:
            now = self._now
            awaited = {key: unserved for key, unserved in now.awaited.items() if key != served.key}
            meant = {**now.current, served.key[0]: served.key} if current else now.current
            self._swap(replace(now, versions={**now.versions, served.key: served}, awaited=awaited, current=meant))

    def switch(self, key: Key) -> bool:
        """Let the name mean this version, which is served. Whether it meant another one before."""
        with self._changing:
            if self._now.current.get(key[0]) == key:
                return False
            self._swap(replace(self._now, current={**self._now.current, key[0]: key}))
            return True

    def drop(self, key: Key) -> bool:
        """Serve this version no more. False where it was not served, is always served, or is what its name means."""
        with self._changing:
            now = self._now
            if key not in now.versions or self._fixed.get(key[0]) == key or now.current.get(key[0]) == key:
                return False
            self._swap(replace(now, versions={other: one for other, one in now.versions.items() if other != key}))
            return True

    def _swap(self, new: Snapshot) -> None:
        old, self._now = self._now, new
        _publish(MODELS, _served(old), _served(new))
        _publish(NOT_LOADED, _not_loaded(old), _not_loaded(new))


def _found(now: Snapshot, name: str, fingerprint: str) -> Served | None:
    if fingerprint:
        return now.versions.get((name, fingerprint))
    return now.versions[now.current[name]] if name in now.current else None


def _missing(now: Snapshot, name: str, fingerprint: str, *, looked: bool, space: str, field: str) -> LookalikeError:
    """Whether to try again is the question: an ingest job waits for what is unavailable, and fails for what does not exist."""
    awaited = [
        unserved for key, unserved in now.awaited.items() if key == (name, fingerprint) or (not fingerprint and key[0] == name)
    ]
    if awaited:
        return Unavailable("embedder", f"model {_shown(name, fingerprint)} {awaited[0].why}")
    if name in now.unknown:
        return Unavailable("embedder", f"what the registry says of model {_shown(name, '')} cannot be read now")
    if not (looked and now.complete):
        registry = f"the registry that may hold model {_shown(name, fingerprint)}"
        return Unavailable("embedder", f"{registry} is not there or has not been read yet")
    known = [key for key in (now.current.get(name), *now.versions, *now.awaited) if key is not None and key[0] == name]
    if fingerprint and known:
        return FingerprintMismatch(space, fingerprint[:64], known[0][1])
    return NotFound("model", name[:63], hint=f"served: {', '.join(now.current)}", field=field)


def _shown(name: str, fingerprint: str) -> str:
    return f"{name[:63]}@{fingerprint[:64]}" if fingerprint else name[:63]


def _served(snapshot: Snapshot) -> dict[tuple[str, ...], int]:
    return {(*key, "yes" if snapshot.current.get(key[0]) == key else "no"): 1 for key in snapshot.versions}


def _not_loaded(snapshot: Snapshot) -> dict[tuple[str, ...], int]:
    reasons = [(name, unserved.reason) for (name, _), unserved in snapshot.awaited.items()]
    return dict(Counter[tuple[str, ...]]([*reasons, *((name, "UNREADABLE") for name in snapshot.unknown)]))


def _publish(gauge: Gauge, before: Mapping[tuple[str, ...], int], now: Mapping[tuple[str, ...], int]) -> None:
    """Removes the series of labels that are gone: they would be shown for as long as the process lives."""
    for labels in before.keys() - now.keys():
        gauge.remove(*labels)
    for labels, value in now.items():
        gauge.labels(*labels).set(value)
