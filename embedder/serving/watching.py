"""Watches the registry from a thread of its own: loads what is promoted off the hot path, then switches; drops what is retired.

Nothing that goes wrong in here reaches a caller of the embedder. A registry that cannot be read, or has lost what it held,
changes nothing: only a record that says so takes a version out of service. A version that cannot be loaded is left out,
logged once, and tried again when its files or its record change. A version whose record cannot be read is never said not to
exist: its callers are asked to try again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

import structlog

from embedder.models.bundle import Bundle
from embedder.registry.record import Record
from embedder.registry.registry import Registry
from embedder.serving.versions import Key, Served, Serving, Unserved
from lookalike.errors import LookalikeError, Unavailable
from lookalike.runtime.telemetry import DEPENDENCY_UP

REGISTRY = "registry"
"""As a dependency it is up while it can be read and holds what it held before."""
_LEAST_S = 0.5
"""Between two looks, however many ask for one."""
_REFRESH_S = 1.0
"""How long a call that asks for an unknown version waits for a look; reading a registry in a folder takes milliseconds."""
_LOADING = Unserved("LOADING", "is being loaded; try again in a few seconds")


class RegistryWatcher:
    """Looks every `poll_s` seconds from `start` to `close`. `build` makes a version ready to serve, warm, in this thread."""

    def __init__(self, registry: Registry, serving: Serving, build: Callable[[Bundle], Served], *, poll_s: float) -> None:
        self._registry, self._serving, self._build, self._poll_s = registry, serving, build, poll_s
        self._changed = threading.Condition()
        self._asked = self._closing = False
        self._begun = self._read = 0  # looks begun, and looks that have read the registry or failed to
        self._first = threading.Event()
        self._known: set[str] = set()
        self._lost: set[str] = set()
        self._unread: set[str] = set()
        self._there = False
        self._logged: dict[str, str] = {}
        self._failed: dict[Key, tuple[str, str]] = {}
        self._unserved: dict[Key, Unserved] = {}
        self._thread = threading.Thread(target=self._work, name="registry", daemon=True)

    def start(self) -> None:
        self._serving.look_before_refusing(self.refresh)
        self._thread.start()

    def close(self, wait_s: float) -> None:
        """Look no more; wait `wait_s` seconds at most for a model that is being loaded."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(wait_s)

    def wait_for_first_look(self, timeout_s: float) -> bool:
        """Whether everything that the first look found has been loaded, or could not be."""
        return self._first.wait(timeout_s)

    def refresh(self) -> bool:
        """Return when the registry has been read anew or could not be; False where that takes more than a second."""
        with self._changed:
            wanted = self._begun + 1
            self._asked = True
            self._changed.notify_all()
            return self._changed.wait_for(lambda: self._read >= wanted, _REFRESH_S)

    def look(self) -> None:
        """Read the registry once, load what is new, switch what was switched, drop what was retired."""
        with self._changed:
            self._begun += 1
            self._asked = False
        try:
            records = self._records()
            if records is not None:
                self._expect(records)
        finally:
            with self._changed:
                self._read = self._begun
                self._changed.notify_all()
        for record in records or ():
            loaded, key = self._load(record, record.current, current=True), (record.name, record.current)
            if loaded or (key in self._serving and self._serving.switch(key)):
                structlog.get_logger().info("model switched", model=record.name, fingerprint=record.current)
        for record in records or ():
            for fingerprint in record.live[1:]:
                self._load(record, fingerprint)
            self._drop_retired(record)

    def _work(self) -> None:
        while not self._closing:
            try:
                self.look()
            except Exception as error:  # noqa: BLE001 - the thread's edge: it must live on, and no caller is there to get it
                structlog.get_logger().error("look at the registry failed", exc_info=error)
                DEPENDENCY_UP.labels(REGISTRY).set(0)
            self._first.set()
            with self._changed:
                self._changed.wait_for(lambda: self._closing, _LEAST_S)
                self._changed.wait_for(lambda: self._closing or self._asked, max(0.0, self._poll_s - _LEAST_S))

    def _records(self) -> list[Record] | None:
        """What the registry says; None where it cannot be read. Models whose record cannot be read are left out (`_unread`)."""
        records, unread = [], set()
        try:
            there = self._registry.is_there()  # before its names are read: it may be mounted in between
            names = self._registry.names()
            for name in names:
                try:
                    record = self._registry.find(name)
                except Unavailable:
                    raise
                except LookalikeError as error:
                    unread.add(name)
                    self._log_once(name, "model's record cannot be read", error.message, model=name)
                else:
                    self._logged.pop(name, None)
                    records.extend([record] if record else [])
        except LookalikeError as error:
            self._log_once("", "registry cannot be read; serving goes on", error.message)
            DEPENDENCY_UP.labels(REGISTRY).set(0)
            return None
        # A name never leaves a registry that is well: what is retired stays on record.
        self._known.update(names)
        self._lost, self._unread, self._there = self._known - set(names), unread, there
        if self._lost:
            self._log_once("", "registry has lost models; serving goes on", ", ".join(sorted(self._lost)))
        elif not self._there:
            self._log_once("", "registry is not there; serving goes on", "there is no such folder; is it mounted?")
        elif self._logged.pop("", None):
            structlog.get_logger().info("registry can be read again")
        DEPENDENCY_UP.labels(REGISTRY).set(0 if self._lost or not self._there else 1)
        return records

    def _expect(self, records: Iterable[Record]) -> None:
        keys = [(record.name, fingerprint) for record in records for fingerprint in record.live]
        wanted = {key: self._unserved.get(key, _LOADING) for key in keys if key not in self._serving}
        unknown = self._lost | self._unread
        before = {key: unserved for key, unserved in self._serving.awaited.items() if key[0] in unknown}
        self._serving.expect({**before, **wanted}, unknown=unknown, complete=self._there)

    def _load(self, record: Record, fingerprint: str, *, current: bool = False) -> bool:
        """Serve a version, unless it is served or nothing says it would not fail again. Whether it is served from now on."""
        name, key = record.name, (record.name, fingerprint)
        if key in self._serving or self._closing:
            return False
        try:
            state = (str(record.revision), self._registry.stamp(name, fingerprint))
            if self._failed.get(key) == state:
                return False
            started_s = time.perf_counter()
            served = self._build(self._registry.load(name, fingerprint))
        except Unavailable as error:
            self._note_failure(key, error.reason, error.message)  # Nothing is wrong with the version: try at every look.
            return False
        except LookalikeError as error:
            self._failed[key] = state
            self._note_failure(key, error.reason, error.message)
            return False
        except Exception as error:  # noqa: BLE001 - Keras and TensorFlow raise anything for weights they do not like
            self._failed[key] = state
            structlog.get_logger().error("model cannot be built", model=name, fingerprint=fingerprint, exc_info=error)
            self._note_failure(key, "INTERNAL", f"it cannot be built: {type(error).__name__}")
            return False
        self._failed.pop(key, None)
        self._unserved.pop(key, None)
        self._serving.add(served, current=current)
        spent_s = round(time.perf_counter() - started_s, 2)
        structlog.get_logger().info("model loaded", model=name, fingerprint=fingerprint, seconds=spent_s)
        return True

    def _drop_retired(self, record: Record) -> None:
        for version in record.versions.values():
            if version.state == "retired" and self._serving.drop((record.name, version.fingerprint)):
                structlog.get_logger().info("model retired", model=record.name, fingerprint=version.fingerprint)

    def _note_failure(self, key: Key, reason: str, problem: str) -> None:
        unserved = Unserved(reason, f"cannot be loaded: {problem}")
        self._serving.note_unserved(key, unserved)
        if self._unserved.get(key) != unserved:
            self._unserved[key] = unserved
            event = "model cannot be loaded; serving goes on without it"
            structlog.get_logger().warning(event, problem=unserved.why, model=key[0], fingerprint=key[1])

    def _log_once(self, about: str, event: str, problem: str, **fields: str) -> None:
        if self._logged.get(about) != problem:
            self._logged[about] = problem
            structlog.get_logger().warning(event, problem=problem, **fields)
