"""Keeps the parts running: starts them in order, restarts parts that die, and stops all in the reverse order.

A single thread owns every child: the kernel ties a child to the *thread* that started it, so that thread lives as long as the
children. `lookalike.local.system` is the only caller.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from lookalike.errors import Cancelled, Internal, LookalikeError, Unavailable
from lookalike.local.folder import DataFolder, Recorded, started_at
from lookalike.local.parts import PYTHON, Part
from lookalike.local.ports import is_free, listens, taken_by
from lookalike.local.waiting import Work, last_words, slow_text

_TICK_S = 0.1
_FIRST_BACKOFF_S, _LONGEST_BACKOFF_S = 0.5, 30.0
_SETTLED_S = 60.0
"""The run time after which a part that dies is restarted with the shortest backoff."""
_BOUND_LOGS_EVERY_S = 10.0
_LOOK_S = 0.5
"""The time between two checks of the parts that are not ready."""
_SLOW_S = 30.0
"""The time after which a part that is not ready is reported as slow, and again whenever that time has doubled."""
_LINES = 50
"""Bounds the lines at the end of a log that are searched for a line to quote."""


@dataclass(frozen=True, slots=True)
class Event:
    """An event of part `name`: its new `state` (`ready`, `died`, `back`, `stopped`, `killed`), and `detail` for people.

    `slow` is a part that is not ready yet. `trouble` is a failed step for a part that otherwise runs, such as putting its log
    aside on a full disk.
    """

    name: str
    state: str
    detail: str


class _Child:
    """A part's process and its history. Only the supervisor's thread uses it, except for reading `pid`."""

    def __init__(self, part: Part) -> None:
        self.part = part
        self.process: subprocess.Popen[bytes] | None = None
        self.ready = False
        self.began_s = 0.0
        self.deaths = 0
        self.again_at_s = 0.0
        self.work: Work | None = None
        self.worked_s = 0.0
        self.slow_after_s = _SLOW_S

    @property
    def pid(self) -> int | None:
        process = self.process
        return process.pid if process is not None and process.returncode is None else None

    def back_off(self) -> float:
        """Delay the next start, longer after each death in a row; the delay in seconds."""
        backoff_s: float = min(_LONGEST_BACKOFF_S, _FIRST_BACKOFF_S * 2**self.deaths)
        self.deaths, self.again_at_s = self.deaths + 1, time.monotonic() + backoff_s
        return backoff_s


class Supervisor:
    """Runs `parts` (in starting order) with their logs and record in `folder`, which must be locked.

    `report` is called from the supervisor's thread; an error of `report` ends the supervisor.
    """

    def __init__(self, folder: DataFolder, parts: Sequence[Part], report: Callable[[Event], None]) -> None:
        self._folder = folder
        self._report = report
        self._children = [_Child(part) for part in parts]
        self._stopping, self._settled, self._ended = threading.Event(), threading.Event(), threading.Event()
        self._failure: LookalikeError | None = None
        self._troubles: dict[str, str] = {}
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)

    @property
    def pids(self) -> dict[str, int]:
        """Process ids of the parts that run now, by name."""
        return {child.part.name: child.pid for child in self._children if child.pid is not None}

    def start(self) -> None:
        """Start every part and return when all are ready.

        Raises `Unavailable` for a part that ended or was not ready in time, with the last line of its log, and `Cancelled`
        where `stop` was called meanwhile. All parts are stopped then.
        """
        self._thread.start()
        _wait_for(self._settled)
        if self._failure is not None:
            _wait_for(self._ended)
            raise self._failure

    def check(self) -> None:
        """Raise the error that has ended the supervisor, and every part with it; return where `stop` ended it, or it runs."""
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Stop every part in order. Returns when all have ended, after the sum of their graces at most."""
        self._stopping.set()
        if self._thread.ident is not None:
            # Not joined: a `join` that Ctrl-C interrupts takes the thread for ended from then on (Python before 3.13).
            _wait_for(self._ended)

    def kill(self) -> None:
        """End every part at once, without waiting for `stop`."""
        for child in self._children:
            _send(child, signal.SIGKILL)

    def _run(self) -> None:
        try:
            self._start_all()
            self._settled.set()
            self._watch()
        except LookalikeError as error:
            self._failure = error
        except Exception as error:  # noqa: BLE001 - the edge of a thread: the thread that waits for it gets this
            self._failure = Internal(f"the supervisor has ended, and every part with it: {type(error).__name__}: {error}")
        finally:
            self._end_all()

    def _end_all(self) -> None:
        try:
            for child in reversed(self._children):
                self._end(child)
            self._record()
        except Exception as error:  # noqa: BLE001 - the same edge; `report` may still raise here
            self.kill()
            for child in self._children:
                if child.process is not None:
                    child.process.wait()
            self._failure = self._failure or Internal(f"the parts were killed: {type(error).__name__}: {error}")
        finally:
            self._ended.set()
            self._settled.set()

    def _start_all(self) -> None:
        ready: set[str] = set()
        looked_s = 0.0
        while len(ready) < len(self._children):
            if self._stopping.wait(_TICK_S):
                raise Cancelled("stopped before everything was ready")
            if (now_s := time.monotonic()) - looked_s > _LOOK_S:
                looked_s = now_s
                self._look_at_work(now_s)
            for child in self._children:
                if child.process is None and ready.issuperset(child.part.needs):
                    self._spawn(child)
                elif child.process is not None and not child.ready and self._becomes_ready(child):
                    ready.add(child.part.name)

    def _becomes_ready(self, child: _Child) -> bool:
        part, process = child.part, child.process
        answered = _answers(child)
        # Checked after the probe: another program may have answered on the port.
        code = process.poll() if process is not None else None
        if code is not None:
            raise self._not_started(part, f"ended with {_ending(code)}")
        if answered:
            child.ready = True
            self._report(Event(part.name, "ready", part.address))
        return answered

    def _look_at_work(self, now_s: float) -> None:
        """Report slow parts. Raises `Unavailable` for a part that takes too long, or that does nothing and waits for no other
        part's work."""
        starting = [child for child in self._children if child.process is not None and not child.ready]
        for child in starting:
            if child.work is not None and child.work.goes_on():
                child.worked_s = now_s
        for child in starting:
            part, waited_s = child.part, now_s - child.began_s
            worked_s = max(one.worked_s for one in self._children if one is child or one.part.name in part.waits_for)
            if waited_s > part.ready_within_s:
                raise self._not_started(part, f"was not ready within {part.ready_within_s:.0f} s")
            if now_s - worked_s > part.patience_s:
                problem = f"did nothing for {part.patience_s:.0f} s, neither work nor a line in its log, and was not ready"
                raise self._not_started(part, problem)
            if waited_s > child.slow_after_s and (pid := child.pid) is not None:
                child.slow_after_s *= 2
                self._report(Event(part.name, "slow", slow_text(part.doing, pid, waited_s)))

    def _not_started(self, part: Part, problem: str) -> Unavailable:
        log = self._folder.logs / f"{part.name}.log"
        said = last_words(self._folder.last_lines(part.name, _LINES))
        pids = set(self.pids.values())
        strange = [port for port in part.ports if not is_free(port) and not any(listens(pid, port) for pid in pids)]
        taken = "".join(f"; port {port} is taken by {taken_by(port)}" for port in strange)
        return Unavailable(part.name, f"it {problem}{taken}; its log is {log}" + (f", last line: {said}" if said else ""))

    def _watch(self) -> None:
        bounded_s = time.monotonic()
        while not self._stopping.wait(_TICK_S):
            for child in self._children:
                self._look_after(child)
            if time.monotonic() - bounded_s > _BOUND_LOGS_EVERY_S:
                bounded_s = time.monotonic()
                for child in self._children:
                    self._try(child.part.name, partial(self._folder.bound_log, child.part.name))

    def _look_after(self, child: _Child) -> None:
        now_s, process = time.monotonic(), child.process
        if process is None:
            if now_s >= child.again_at_s and not self._try(child.part.name, partial(self._spawn, child)):
                child.back_off()
            return
        code = process.poll()
        if code is not None:
            child.deaths = 0 if now_s - child.began_s > _SETTLED_S else child.deaths
            child.process, child.ready = None, False
            backoff_s = child.back_off()
            detail = f"ended with {_ending(code)}; starting it again in {backoff_s:g} s"
            self._report(Event(child.part.name, "died", detail))
        elif not child.ready and _answers(child):
            child.ready = True
            self._report(Event(child.part.name, "back", child.part.address))

    def _spawn(self, child: _Child) -> None:
        part = child.part
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", **part.environment}
        launcher = (*PYTHON, "-m", "lookalike.local.child", str(os.getpid()))
        self._try(part.name, partial(self._folder.bound_log, part.name))
        with self._folder.open_log(part.name) as log:
            try:
                child.process = subprocess.Popen(  # noqa: S603 - our own argv
                    [*launcher, *part.argv],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=environment,
                    cwd=self._folder.path,
                    # Outside the terminal's process group, so that Ctrl-C reaches this process alone, which stops the parts in
                    # order.
                    start_new_session=True,
                )
            except OSError as error:
                raise Unavailable(part.name, f"it cannot be started: {error.strerror}") from error
        child.began_s = child.worked_s = time.monotonic()
        child.work = Work(child.process.pid, self._folder.logs / f"{part.name}.log")
        self._record()

    def _record(self) -> None:
        """Record which parts run. A failure does not stop the system: the next run then reaps no orphans."""
        running = [(one.part.name, one.pid) for one in self._children]
        recorded = [Recorded(name, pid, started_at(pid)) for name, pid in running if pid is not None]
        self._try("record", partial(self._folder.record, recorded))

    def _try(self, name: str, action: Callable[[], None]) -> bool:
        """Whether `action` succeeded. A failure is an event of `name`, unless the last failure had the same reason."""
        try:
            action()
        except LookalikeError as error:
            if self._troubles.get(name) != error.message:
                self._troubles[name] = error.message
                self._report(Event(name, "trouble", error.message))
            return False
        self._troubles.pop(name, None)
        return True

    def _end(self, child: _Child) -> None:
        process, part = child.process, child.part
        if process is None or process.poll() is not None:
            return
        _send(child, part.stop_signal)
        try:
            process.wait(part.grace_s)
            self._report(Event(part.name, "stopped", ""))
        except subprocess.TimeoutExpired:
            _send(child, signal.SIGKILL)
            process.wait()
            self._report(Event(part.name, "killed", f"did not stop within {part.grace_s:g} s"))


def _answers(child: _Child) -> bool:
    """Whether the part is ready, by the answer of its own process: another system's process may listen on the port."""
    pid = child.pid
    return child.part.is_ready() and pid is not None and all(listens(pid, port) for port in child.part.ports)


def _wait_for(event: threading.Event) -> None:
    """Wait in slices, so that Ctrl-C takes effect at once."""
    while not event.wait(_TICK_S):
        pass


def _send(child: _Child, number: signal.Signals) -> None:
    process = child.process
    if process is not None:
        process.send_signal(number)


def _ending(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
