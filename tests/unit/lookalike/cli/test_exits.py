"""What an error looks like on the terminal."""

from __future__ import annotations

import pytest

from lookalike.cli import exits
from lookalike.cli.exits import pointer
from lookalike.cli.main import run_command
from lookalike.errors import BadFilter, InvalidArgument


@pytest.mark.parametrize(
    ("arguments", "column", "lines"),
    [
        (("-f", "label = 'beach'"), 9, ["  label = 'beach'", "          ^"]),
        (("--filter=a == 1",), 4, ["  a == 1", "     ^"]),
        (("-fa = ",), 5, ["  a = ", "      ^"]),
        (("--filter", "海 == 1"), 4, ["  海 == 1", "      ^"]),
        (("--filter", "a\n= \x1b"), 5, ["  a =  ", "      ^"]),
    ],
)
def test_a_caret_stands_under_what_is_wrong_with_a_filter(arguments: tuple[str, ...], column: int, lines: list[str]) -> None:
    error = BadFilter(f"column {column}: is not expected here")
    assert pointer(error, ("search", *arguments)).split("\n") == lines


def test_of_a_long_filter_only_the_surroundings_are_shown() -> None:
    text = "a = 1 OR " * 300 + "a == 1"
    column = len(text) - 2
    shown, caret = pointer(BadFilter(f"column {column}: x"), ("-f", text)).split("\n")
    assert len(shown) <= 80
    assert shown.startswith("  ...")
    assert shown[caret.index("^")] == "="
    assert pointer(BadFilter("column 1: x"), ("-f", text)).split("\n")[1] == "  ^"


@pytest.mark.parametrize("command", [("jobs", "list"), ("images", "list", "shoes"), ("jobs", "failures", "job-1")])
def test_a_limit_beyond_all_numbers_is_wrong_usage_and_no_defect(
    command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command([*command, "--limit", str(10**30)]) == exits.INVALID
    assert "--limit" in capsys.readouterr().err


@pytest.mark.parametrize("error", [InvalidArgument("top_k", "is 0"), BadFilter("is too long"), BadFilter("column 99: x")])
def test_nothing_is_pointed_at_where_no_place_is_known(error: InvalidArgument) -> None:
    assert pointer(error, ("-f", "a = 1")) == ""
    assert pointer(BadFilter("column 1: x"), ("search",)) == ""
