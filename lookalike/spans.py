"""Spans of time as text: seconds with an `s` after them, such as `3.5s`, as protobuf's JSON mapping has a `Duration`.

The command's JSON, HTTP's bodies and queries, and error texts write spans so. Standard library only.
"""

from __future__ import annotations

import re
from datetime import timedelta

from lookalike.errors import InvalidArgument

MAX_SPAN = timedelta(seconds=315_576_000_000)
"""Bounds a span: 10,000 years, as of protobuf's `Duration`."""
PATTERN = r"^-?[0-9]{1,12}(\.[0-9]{1,9})?s$"
_TEXT = re.compile(PATTERN.strip("^$"))
_MICROSECOND = timedelta(microseconds=1)


def span_text(span: timedelta) -> str:
    """`span` to the microsecond: `30s`, `0.25s`, `-1.5s`."""
    seconds, microseconds = divmod(abs(span) // _MICROSECOND, 1_000_000)
    fraction = f".{microseconds:06d}".rstrip("0").rstrip(".")
    return f"{'-' if span < timedelta() else ''}{seconds}{fraction}s"


def span_of(field: str, text: object) -> timedelta:
    """The span that `text` says, to the microsecond. Raises `InvalidArgument` for other text, and beyond `MAX_SPAN`."""
    if not isinstance(text, str) or not _TEXT.fullmatch(text):
        raise InvalidArgument(field, "is not a span of seconds such as `3.5s`")
    seconds, _, fraction = text.lstrip("-").removesuffix("s").partition(".")
    span = timedelta(seconds=int(seconds), microseconds=int(fraction.ljust(9, "0")) // 1000)
    if span > MAX_SPAN:
        raise InvalidArgument(field, f"is out of range; at most {span_text(MAX_SPAN)} (10,000 years) are allowed")
    return -span if text.startswith("-") else span
