"""What `lookalike train` shows while it works: a bar with the time left on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING

from lookalike.cli.terminal import console, note

if TYPE_CHECKING:
    from embedder.training.train import Progress as Now

_LINE_EVERY_S = 10.0
"""Between lines where there is no terminal, and between those of epochs that are over sooner."""
_SLOW_EPOCH_S = 60.0


class TrainingDisplay:
    """A `session.Watcher` on standard error. `pictures` is what an epoch shows."""

    def __init__(self, pictures: int) -> None:
        from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn

        self._out = console(err=True)
        self._plain = not self._out.is_terminal
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TextColumn("{task.fields[text]}", style="cyan"),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[left]}"),
            console=self._out,
            disable=self._plain,
            transient=True,
        )
        self._pictures = pictures
        self._stage = ""
        self._begun_at: tuple[int, float] | None = None
        self._last_line_s = time.monotonic()
        self._finished: set[str] = set()

    def __enter__(self) -> TrainingDisplay:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.stop()

    def stage(self, what: str, done: int, of: int) -> None:
        self._show(what, done, of or None, text=f"{done:,} of {of:,}" if of else "")
        if not self._plain or what in self._finished:
            return
        if done == of:
            self._finished.add(what)
        if done == of or self._line_due():
            self._line(f"{what}: {done:,} of {of:,}" if of else what)

    def step(self, now: Now) -> None:
        at = now.epoch * now.steps + now.step
        if self._begun_at is None:
            self._begun_at = at - 1, time.monotonic()
            if now.epoch:
                self._line(f"goes on from a checkpoint: {now.epoch} of {now.epochs} epochs are done")
        self._show(
            f"epoch {now.epoch + 1} of {now.epochs}",
            at,
            now.epochs * now.steps,
            text=f"{self._rate(at, now.steps):,.0f} images/s  loss {now.loss:.3f}",
        )
        if self._plain and now.step < now.steps and self._line_due(_SLOW_EPOCH_S):
            part = f"step {now.step} of {now.steps}"
            self._line(f"epoch {now.epoch + 1} of {now.epochs}, {part}  loss {now.loss:.4f}{self._left(now)}")

    def epoch(self, now: Now, scalars: Mapping[str, float]) -> None:
        if not self._line_due() and now.epoch + 1 < now.epochs:
            return
        found = scalars.get("validation_p_at_1")
        text = f"epoch {now.epoch + 1:>{len(str(now.epochs))}} of {now.epochs}  loss {now.loss:.4f}"
        text += f"  validation P@1 {found:.3f}" if found is not None else ""
        rate = self._rate((now.epoch + 1) * now.steps, now.steps)
        self._line(f"{text}  {rate:,.0f} images/s  {_time(now.spent_s)}{self._left(now)}")

    def _show(self, what: str, done: int, of: int | None, *, text: str) -> None:
        stage = "training" if what.startswith("epoch ") else what
        if stage != self._stage:
            for task in self._bar.task_ids:
                self._bar.remove_task(task)
            self._stage = stage
            self._bar.add_task(what, total=of, completed=done, text=text, left="")
        task = self._bar.task_ids[0]
        self._bar.update(task, description=what, total=of, completed=done, text=text, left="left" if of else "")

    def _rate(self, at: int, steps: int) -> float:
        """Pictures a second since this process began to train."""
        if self._begun_at is None:
            return 0.0
        done, since_s = self._begun_at
        return (at - done) / steps * self._pictures / max(time.monotonic() - since_s, 1e-3)

    def _left(self, now: Now) -> str:
        at, whole = now.epoch * now.steps + now.step, now.epochs * now.steps
        if self._begun_at is None or at >= whole:
            return ""
        done, since_s = self._begun_at
        return f"  {_time((time.monotonic() - since_s) / max(1, at - done) * (whole - at))} left"

    def _line_due(self, every_s: float = _LINE_EVERY_S) -> bool:
        return time.monotonic() - self._last_line_s > every_s

    def _line(self, text: str) -> None:
        self._last_line_s = time.monotonic()
        if self._plain:
            note(text)
        else:
            self._bar.console.print(text, markup=False, highlight=False)


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
