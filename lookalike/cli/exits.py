"""Exit codes, and how an error becomes one line. The one place that decides either."""

from __future__ import annotations

import re
from collections.abc import Sequence

from lookalike import errors

OK = 0
OTHER = 1
INVALID = 2
NOT_FOUND = 3
WRONG_STATE = 4
UNAVAILABLE = 5
ITEMS_FAILED = 6
UNEXPECTED = 7
INTERRUPTED = 130
BROKEN_PIPE = 141
"""128 + SIGPIPE, what a shell reports for a program that the signal has ended."""

TABLE = (
    (OK, "done"),
    (OTHER, "anything else; a defect, where the message says so"),
    (INVALID, "wrong usage, or an argument, picture or filter that is not valid"),
    (NOT_FOUND, "a collection, image, job, model or file that does not exist"),
    (WRONG_STATE, "it exists already, or the system is not in the state this needs"),
    (UNAVAILABLE, "the system does not answer, is overloaded or too slow: try again"),
    (ITEMS_FAILED, "the job has ended, but not every item is in the collection"),
    (UNEXPECTED, "the demo found more or less than the shipped model should, or tune no ef that finds enough"),
    (INTERRUPTED, "stopped by Ctrl-C"),
    (BROKEN_PIPE, "nobody reads the output any more"),
)

_COLUMN = re.compile(r"filter: column (\d+):")
_CODES: tuple[tuple[type[errors.LookalikeError], int], ...] = (
    (errors.InvalidArgument, INVALID),
    (errors.NotFound, NOT_FOUND),
    (errors.AlreadyExists, WRONG_STATE),
    (errors.FailedPrecondition, WRONG_STATE),
    (errors.Overloaded, UNAVAILABLE),
    (errors.Unavailable, UNAVAILABLE),
    (errors.DeadlineExceeded, UNAVAILABLE),
)


def exit_code(error: errors.LookalikeError) -> int:
    """The exit code that `error` ends the command with."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), OTHER)


def one_line(error: errors.LookalikeError) -> str:
    """What a person reads: the message, with what to do where that is plain."""
    text = " ".join(error.message.split())
    if isinstance(error, errors.Unavailable) and error.metadata.get("dependency") == "gateway":
        text += "; is the system running? `lookalike up` starts one here, --address names another"
    return text


def pointer(error: errors.LookalikeError, arguments: Sequence[str], columns: int = 80) -> str:
    """The place of a filter that is wrong and a caret under it, on two lines; "" for any other error.

    Of a long filter only what stands around the place is shown, at most `columns` wide.
    """
    found = _COLUMN.match(error.message) if isinstance(error, errors.BadFilter) else None
    if found is None or (given := _filter_of(arguments)) is None:
        return ""
    at = int(found[1]) - 1
    if at > len(given):
        return ""
    shown = "".join(character if character.isprintable() else " " for character in given)
    first = max(0, at - columns // 2)
    before, after = shown[first:at], shown[at : first + columns - 10]
    cut = "..." if first else ""
    more = "..." if first + columns - 10 < len(shown) else ""
    return f"  {cut}{before}{after}{more}\n  {' ' * (len(cut) + _cells(before))}^"


def _filter_of(arguments: Sequence[str]) -> str | None:
    """What was given as --filter or -f, last where more than once."""
    given = None
    for position, argument in enumerate(arguments):
        if argument in ("--filter", "-f"):
            given = arguments[position + 1] if position + 1 < len(arguments) else given
        elif argument.startswith("--filter="):
            given = argument.removeprefix("--filter=")
        elif argument.startswith("-f") and not argument.startswith("--"):
            given = argument.removeprefix("-f")
    return given


def _cells(text: str) -> int:
    """Columns that `text` takes on a terminal: two for a wide character, none for one that combines."""
    from rich.cells import cell_len

    return cell_len(text)


def epilog() -> str:
    """The table, for the end of `lookalike --help` (`lookalike.cli.pages`): a title, then code, tab and meaning a line."""
    return "\n".join(("Exit codes", *(f"{code}\t{meaning}" for code, meaning in TABLE)))
