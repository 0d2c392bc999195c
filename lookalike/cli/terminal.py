"""The output of commands: tables and lines for people on standard output, notes and progress on standard error, JSON for
programs.

Rich is imported when something is printed, not before.
"""

from __future__ import annotations

import dataclasses
import enum
import inspect
import json
import sys
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import typer

from lookalike.csv_cells import csv_text
from lookalike.errors import InvalidArgument
from lookalike.spans import span_text

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_PIPED_WIDTH = 240
"""Columns where the output is no terminal: wide enough that no id or URI is cut."""
MOST_LISTED = 1_000_000_000
"""Bounds `--limit`, far beyond any list."""
_STEERING = ("Cc", "Cs")
"""Categories of Unicode that steer a terminal: control characters, and lone surrogates, which cannot be written at all."""
_BIDI = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that turn the direction of the text after them."""


def console(*, err: bool = False) -> Console:
    """Rich's console on standard output or error; plain and wide where that is no terminal.

    Text in brackets is shown as it is, in cells of tables too, since most texts come from users. Lines with the command's own
    markup are printed with `markup=True`.
    """
    from rich.console import Console

    made = Console(stderr=err, highlight=False, markup=False, emoji=False)
    if not made.is_terminal:
        made = Console(stderr=err, highlight=False, markup=False, emoji=False, width=_PIPED_WIDTH)
    return made


def visible(text: str) -> str:
    """`text` with every character that would steer the terminal written out, as `\\x1b`.

    Metadata, names of files and descriptions come from others, and a terminal obeys escape sequences wherever they are.
    """
    if text.isprintable():
        return text
    return "".join(
        character.encode("unicode_escape").decode() if unicodedata.category(character) in _STEERING or character in _BIDI
        else character
        for character in text
    )  # fmt: skip


def help_of(command: Callable[..., None]) -> str:
    """A command's docstring with every paragraph on one line, to be wrapped at the terminal's width."""
    paragraphs = inspect.cleandoc(command.__doc__ or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def note(line: str) -> None:
    """Print one line for people on standard error, apart from the results."""
    typer.echo(visible(line), err=True)


def table(*columns: str, title: str | None = None, numbers: Sequence[str] = ()) -> Table:
    """An empty table; columns named in `numbers` are right-aligned and never broken."""
    from rich import box
    from rich.table import Table

    made = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold", pad_edge=False)
    for column in columns:
        number = column in numbers
        made.add_column(column, justify="right" if number else "left", overflow="fold", no_wrap=number)
    return made


def emit_json(value: object) -> None:
    """Print `value` (records, lists, plain values) as JSON on standard output."""
    typer.echo(json.dumps(to_json(value), indent=2, ensure_ascii=False))


def emit_json_line(value: object) -> None:
    """Print `value` as one line of JSON, for lists of any length."""
    typer.echo(json.dumps(to_json(value), ensure_ascii=False))


def emit_csv_line(cells: Iterable[object]) -> None:
    """Print one line of CSV."""
    typer.echo(csv_text([cells], line_end="\n"), nl=False)


def to_json(value: object) -> Any:
    """Records as objects, spaces as `stored_spaces` has them, times as ISO 8601, spans as `3.5s`, enums by value, vectors as
    lists."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        from lookalike import stored_spaces
        from lookalike.spaces import Space

        if isinstance(value, Space):
            return stored_spaces.to_json(value)
        return {field.name: to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    match value:
        case enum.Enum():
            return value.value
        case datetime():
            return value.isoformat()
        case timedelta():
            return span_text(value)
        case Mapping():
            return {str(key): to_json(inner) for key, inner in value.items()}
        case list() | tuple():
            return [to_json(inner) for inner in value]
    if hasattr(value, "tolist"):  # a NumPy array, without importing NumPy to ask
        return value.tolist()
    return value


def confirm(question: str, *, yes: bool) -> None:
    """Ask for confirmation before something is lost, unless `--yes` was given.

    Raises `InvalidArgument` where standard input is no terminal, and ends the command where the answer is no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise InvalidArgument("--yes", "is required where standard input is not a terminal")
    typer.confirm(question, abort=True, err=True)


def metadata_text(metadata: Mapping[str, object]) -> str:
    """`label=Coat year=2019`, for a table."""
    return visible(" ".join(f"{key}={value}" for key, value in metadata.items()))


def time_text(moment: datetime | None) -> str:
    """Local time to the second, or a dash."""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S") if moment is not None else "-"


def duration_text(seconds: float) -> str:
    """`8 s`, `25 min`, `3.5 h`, for durations that are not known more exactly."""
    if seconds < 100:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:,.1f} h"


def bytes_text(size_bytes: int) -> str:
    """`512 bytes`, `1.2 GB`."""
    from rich.filesize import decimal

    return decimal(size_bytes)


def count_text(count: int, one: str, many: str | None = None) -> str:
    """`1 image`, `9,000 images`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"
