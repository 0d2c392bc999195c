"""Exit codes, and how an error becomes one line. The one place that decides either."""

from __future__ import annotations

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


def epilog() -> str:
    """The table, for the end of `lookalike --help` (`lookalike.cli.pages`): a title, then code, tab and meaning a line."""
    return "\n".join(("Exit codes", *(f"{code}\t{meaning}" for code, meaning in TABLE)))
