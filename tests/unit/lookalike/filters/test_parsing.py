"""The filter language: what it accepts, what that says, and that nothing but BadFilter comes out."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lookalike.errors import BadFilter
from lookalike.filters.parsing import MAX_CHARACTERS, parse
from lookalike.records.filter import AllOf, AnyOf, Comparison, Condition, Field, Not, Operator, Value


def said(path: str | tuple[str, ...], operator: Operator, *values: Value) -> Comparison:
    """A comparison of the image's own field, or of the metadata's key at a path."""
    return Comparison(Field(path) if isinstance(path, str) else Field("metadata", path), operator, values)


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("", None),
        (" \n\t", None),
        ('label = "Coat"', said(("label",), "=", "Coat")),
        ("a.b = -1.5e3", said(("a", "b"), "=", -1500.0)),
        ("year != 2019", said(("year",), "!=", 2019)),
        ("flag = true", said(("flag",), "=", True)),
        ('name = "abc*"', said(("name",), "begins with", "abc")),
        ('name != "abc*"', said(("name",), "does not begin with", "abc")),
        (r'name = "abc\*"', said(("name",), "=", "abc*")),
        ("a IN (1, 2)", said(("a",), "IN", 1, 2)),
        ('id NOT IN ("x")', said("id", "NOT IN", "x")),
        ('NOT id = "x"', Not(said("id", "=", "x"))),
        ("metadata.id = 1", said(("id",), "=", 1)),
        ("metadata.metadata = 1", said(("metadata",), "=", 1)),
        ("`product type`.`ключ` = 1", said(("product type", "ключ"), "=", 1)),
        ('index_time >= "1970-01-01T01:00:00+01:00"', said("index_time", ">=", datetime(1970, 1, 1, tzinfo=UTC))),
        ("ANDY = 1 AND INN = 2", AllOf((said(("ANDY",), "=", 1), said(("INN",), "=", 2)))),
    ],
)
def test_a_filter_says_what_it_reads_like(text: str, condition: Condition | None) -> None:
    assert parse(text) == condition


def test_and_binds_tighter_than_or_and_not_tightest() -> None:
    a, b, c = (said("id", "=", letter) for letter in "abc")
    assert parse('id = "a" OR id = "b" AND NOT id = "c"') == AnyOf((a, AllOf((b, Not(c)))))
    assert parse('(id = "a" OR id = "b") AND id = "c"') == AllOf((AnyOf((a, b)), c))
    assert parse('NOT (id = "a" OR NOT id = "b")') == Not(AnyOf((a, Not(b))))


def test_long_chains_and_the_deepest_nesting_allowed_are_read() -> None:
    chain = parse(" OR ".join(f"a={n % 10}" for n in range(500)))
    assert isinstance(chain, AnyOf)
    assert len(chain.parts) == 500
    assert parse("(" * 32 + "a = 1" + ")" * 32) == said(("a",), "=", 1)


@pytest.mark.parametrize(
    ("text", "column", "words"),
    [
        ("a = ", 5, "too early"),
        ("(a = 1", 7, "too early"),
        ("a = 1)", 6, "closes nothing"),
        ("a = 1 and b = 2", 7, "capitals"),
        ('a = "x', 5, "not closed"),
        ("`a = 1", 1, "not closed"),
        ("a == 1", 4, "write one ="),
        ("a\n= 'x'", 5, 'text goes in double quotes; write "x"'),
        ('a = "x*y"', 5, "may only end"),
        ('a < "x*"', 5, "prefix"),
        ('a IN ("x*")', 7, "prefixes"),
        ('a IN (1, "x")', 10, "one type"),
        ("a IN ()", 7, "not expected"),
        (r'a = "\n"', 5, "no escape"),
        ("a < true", 3, "true and false"),
        ("a = 1e999", 5, r"out of range; -1.7976931348623157e\+308 to 1.7976931348623157e\+308"),
        ("a = 9223372036854775808", 5, "out of range; whole numbers from -9223372036854775808 to 9223372036854775807"),
        ("a = -9223372036854775809", 5, "out of range"),
        ("revision = 1.5", 12, "whole number"),
        ("id = 1", 6, "text"),
        ("id.x = 1", 4, "no members"),
        ("metadata = 1", 1, "name a key"),
        ('`a"]["b` = 1', 1, "cannot be filtered"),
        ("x = 1 OR `a\nb` = 1", 10, "cannot be filtered"),
        ("`a\rb` = 1", 1, "cannot be filtered"),
        ("`a\tb` = 1", 1, "cannot be filtered"),
        ("a = " + "9" * 4000, 5, "out of range"),
        ('index_time > "yesterday"', 14, "a moment"),
        ('indexed_at > "2026-01-01T00:00:00Z"', 1, "indexed_at is index_time now; for metadata write metadata.indexed_at"),
        ('index_time > "2026-01-01T00:00:00"', 14, "a moment"),
        ("a = \x00", 5, "control"),
    ],
)
def test_a_wrong_filter_is_refused_and_the_message_says_where(text: str, column: int, words: str) -> None:
    with pytest.raises(BadFilter, match=words) as refused:
        parse(text)
    assert f"column {column}:" in refused.value.message
    assert refused.value.field == "filter"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a = 1 OR " * 500 + "a = 1", str(MAX_CHARACTERS)),
        ("(" * 33 + "a = 1" + ")" * 33, "deeper than 32"),
        ("NOT " * 33 + "a = 1", "deeper than 32"),
        ("(" * 31 + "a=1" + "".join(" AND b=1 OR c=1)" + " OR d=1" * 14 for _ in range(31)), "too complex"),
    ],
)
def test_a_filter_that_would_burden_the_server_is_refused(text: str, words: str) -> None:
    with pytest.raises(BadFilter, match=words):
        parse(text)


@given(
    st.text(max_size=60)
    | st.text('ab."`\\*()=!<>-1eE, \nNOTANDRI', max_size=60)
    | st.text("a=' “”\u20181:&|[]_.LIKEnul", max_size=40)
)
@settings(max_examples=600, deadline=None)
def test_any_text_parses_or_is_a_bad_filter(text: str) -> None:
    with contextlib.suppress(BadFilter):
        assert parse(text) is None or text.strip()


@pytest.mark.parametrize(
    ("text", "column", "hint"),
    [
        ("label = 'two words' AND a = 1", 9, 'write "two words"'),
        ("label = “beach”", 9, 'write "beach"'),
        ("label = \u2018beach", 9, 'write "beach"'),
        ("label = „Straße“", 9, 'write "Straße"'),
        ("label = `beach`", 9, 'write "beach"'),
        ("label = beach", 9, 'write "beach"'),
        ("label = summer dress AND a = 1", 9, 'write "summer dress"'),
        ("color IN (red, blue)", 11, 'write "red"'),
        ("name = summer*", 8, 'write "summer*"'),
        ("taken > 2026-01-31 AND a = 1", 13, 'write "2026-01-31"'),
        ("width = 12px", 11, 'write "12px"'),
        ("a = 1,000", 6, "without separators"),
        ('"label" = 1', 1, "a key stands without quotes; write label"),
        ("'product type' = 1", 1, "write `product type`"),
        ("a => 1", 4, "write >="),
        ("a <> 1", 4, "write !="),
        ("a : 1", 3, "write ="),
        ('a LIKE "x%"', 3, "ends in * matches"),
        ('a like "x%"', 3, "ends in * matches"),
        ("a ~ 1", 3, "ends in * matches"),
        ("a BETWEEN 1 AND 2", 3, "a >= 1 AND a <= 2"),
        ("a = 1 && b = 2", 7, "write AND"),
        ("a = 1 || b = 2", 7, "write OR"),
        ("a = 1 Or b = 2", 7, "write OR in capitals"),
        ("! a = 1", 1, "write NOT"),
        ("a = null", 5, "not there"),
        ("a = True", 5, "write true"),
        ("a = (1, 2)", 5, "goes with IN"),
        ("a IN [1, 2]", 6, "in parentheses"),
        ("a IN 1", 6, "in parentheses"),
        ("a", 2, "a comparison is expected"),
        ("a = 1 b = 2", 7, "AND or OR is expected"),
        ("a =", 4, "a value is expected"),
        ("a\u200b = 1", 2, "ZERO WIDTH SPACE"),
    ],
)
def test_what_other_languages_take_is_answered_with_what_to_write(text: str, column: int, hint: str) -> None:
    with pytest.raises(BadFilter) as refused:
        parse(text)
    assert f"column {column}:" in refused.value.message
    assert hint in refused.value.message


def test_spaces_of_every_kind_part_words() -> None:
    assert parse("a\u00a0=\u30001") == said(("a",), "=", 1)
