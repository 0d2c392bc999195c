"""Cuts Celery's own log to a line each: Celery quotes whole messages, which callers wrote, and tracebacks of what passes."""

from __future__ import annotations

import logging
import re
import time

_QUOTE_MESSAGES = ("celery.worker.consumer.consumer",)
_REPORT_DEFECTS = ("celery.worker", "celery.worker.request")
"""Loggers whose lines are cut only where they are about an error of the broker."""
_SAID = 200
"""The characters of a line, and of the error that it is about."""
_BROKER = ("redis.", "kombu.")
_AGAIN_S = 60.0
"""The time until the same line is written again."""


def cut_celery_logs() -> None:
    """Call it once, after logging was set up."""
    for name in _QUOTE_MESSAGES + _REPORT_DEFECTS:
        logging.getLogger(name).addFilter(OneLine(keep_defects=name in _REPORT_DEFECTS))


class OneLine(logging.Filter):
    """Cuts a record to its first line and, where an error of the broker is the reason, to that. Drops a line that was written
    just before."""

    def __init__(self, *, keep_defects: bool = False) -> None:
        super().__init__()
        self._keep_defects = keep_defects
        self._written: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
        of_the_broker = error is not None and type(error).__module__.startswith(_BROKER)
        if self._keep_defects and not of_the_broker:
            return True
        # What comes behind holds bodies, headers and arguments of messages.
        text = re.split(r"\n| \[type:", record.getMessage().removeprefix("consumer: "))[0][:_SAID]
        if of_the_broker:
            text = f"{text} ({type(error).__name__}: {' '.join(str(error).split())[:_SAID]})"
        record.msg, record.args, record.exc_info, record.exc_text = text, (), None, None
        now_s = time.monotonic()
        if now_s < self._written.get(text, 0.0):
            return False
        self._written = {line: until_s for line, until_s in self._written.items() if until_s > now_s} | {text: now_s + _AGAIN_S}
        return True
