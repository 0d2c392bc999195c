"""Exit codes, and how an error becomes one line. Nothing else decides either."""

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
"""128 + SIGPIPE: a shell reports it for a program that the signal has ended."""

TABLE = (
    (OK, "done"),
    (OTHER, "any other error; a defect where the message says so"),
    (INVALID, "wrong usage, or an argument, picture or filter that is not valid"),
    (NOT_FOUND, "a collection, image, job, model or file that does not exist"),
    (WRONG_STATE, "something that exists already, or is not in the state that the command needs"),
    (UNAVAILABLE, "the system does not answer, is overloaded or too slow: try again"),
    (ITEMS_FAILED, "the job has ended, but not every item is in the collection"),
    (UNEXPECTED, "the demo's figures are not those of the shipped model, or tune found no ef that is enough"),
    (INTERRUPTED, "stopped by Ctrl-C"),
    (BROKEN_PIPE, "the reader of the output has closed it"),
)

_COLUMN = re.compile(r"(?:options\.)?filter: column (\d+):")
_PLACE = re.compile(r"^(?:query|options)\.")
"""The place of a field in a request. The command's own options have none."""
_CODES: tuple[tuple[type[errors.LookalikeError], int], ...] = (
    (errors.InvalidArgument, INVALID),
    (errors.NotFound, NOT_FOUND),
    (errors.AlreadyExists, WRONG_STATE),
    (errors.FailedPrecondition, WRONG_STATE),
    (errors.Aborted, WRONG_STATE),
    (errors.Overloaded, UNAVAILABLE),
    (errors.Unavailable, UNAVAILABLE),
    (errors.DeadlineExceeded, UNAVAILABLE),
)


def exit_code(error: errors.LookalikeError) -> int:
    """The exit code that `error` ends the command with."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), OTHER)


def one_line(error: errors.LookalikeError) -> str:
    """The message as one line, with what to do where that is plain."""
    text = _PLACE.sub("", " ".join(error.message.split()))
    if isinstance(error, errors.Unavailable) and error.metadata.get("dependency") == "gateway":
        text += "; is the system running? `lookalike up` starts one here, --address names another"
    return text


def pointer(error: errors.LookalikeError, arguments: Sequence[str], columns: int = 80) -> str:
    """A wrong filter, and on a second line a caret under the place of its error; "" for any other error.

    A long filter is cut to at most `columns` around the place.
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
    """The value of the last --filter or -f; None where there is none."""
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
    """The table, for the end of `lookalike --help` (`lookalike.cli.pages`): a title, then lines of code, tab and meaning."""
    return "\n".join(("Exit codes", *(f"{code}\t{meaning}" for code, meaning in TABLE)))
