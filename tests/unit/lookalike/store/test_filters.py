"""The filter language without a server: what it accepts, what it compiles to, and that nothing but BadFilter comes out."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lookalike.errors import BadFilter
from lookalike.store.filters import MAX_CHARACTERS, compile_filter
from lookalike.store.milvus.expressions import both, id_above, ids_among, ids_not_among


@pytest.mark.parametrize(
    ("text", "expression"),
    [
        ("", ""),
        (" \n\t", ""),
        ('label = "Coat"', 'metadata["label"] == "Coat"'),
        ("a.b = -1.5e3", 'metadata["a"]["b"] == -1500.0'),
        ("year != 2019", '(metadata["year"] < 2019 or metadata["year"] > 2019)'),
        ("flag != true", 'metadata["flag"] == false'),
        ('name = "abc*"', '(metadata["name"] >= "abc" and metadata["name"] < "abd")'),
        ('name != "abc*"', '(metadata["name"] < "abc" or metadata["name"] >= "abd")'),
        (r'name = "abc\*"', 'metadata["name"] == "abc*"'),
        ('name = "*"', 'metadata["name"] >= ""'),
        ("a IN (1, 2)", '(metadata["a"] == 1 or metadata["a"] == 2)'),
        ('id IN ("x", "y")', 'id in ["x", "y"]'),
        ('NOT id = "x"', 'not (id == "x")'),
        ("NOT a = 1", '(not (exists metadata["a"]) or not (metadata["a"] == 1))'),
        ("metadata.id = 1", 'metadata["id"] == 1'),
        ("metadata.metadata = 1", 'metadata["metadata"] == 1'),
        ("vector = 1", 'metadata["vector"] == 1'),
        ("`product type`.`ключ` = 1", 'metadata["product type"]["ключ"] == 1'),
        ('indexed_at >= "1970-01-01T01:00:00.5+01:00"', "indexed_at >= 500000"),
        ("ANDY = 1 AND INN = 2", '(metadata["ANDY"] == 1 and metadata["INN"] == 2)'),
    ],
)
def test_a_filter_compiles_to_an_expression_of_both_servers(text: str, expression: str) -> None:
    assert compile_filter(text) == expression


def test_and_binds_tighter_than_or_and_not_tightest() -> None:
    assert compile_filter('id = "a" OR id = "b" AND NOT id = "c"') == '(id == "a" or (id == "b" and not (id == "c")))'
    assert compile_filter('(id = "a" OR id = "b") AND id = "c"') == '((id == "a" or id == "b") and id == "c")'
    assert compile_filter('NOT (id = "a" OR NOT id = "b")') == '(not (id == "a") and id == "b")'


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
        ("a = 1e999", 5, "too large"),
        ("a = 9223372036854775808", 5, "too large"),
        ("revision = 1.5", 12, "whole number"),
        ("id = 1", 6, "text"),
        ("id.x = 1", 4, "no members"),
        ("metadata = 1", 1, "name a key"),
        ('`a"]["b` = 1', 1, "cannot be filtered"),
        ("x = 1 OR `a\nb` = 1", 10, "cannot be filtered"),
        ("`a\rb` = 1", 1, "cannot be filtered"),
        ("`a\tb` = 1", 1, "cannot be filtered"),
        ("a = " + "9" * 4000, 5, "too large"),
        ('indexed_at > "yesterday"', 14, "a moment"),
        ('indexed_at > "2026-01-01T00:00:00"', 14, "a moment"),
        ("a = \x00", 5, "control"),
    ],
)
def test_a_wrong_filter_is_refused_and_the_message_says_where(text: str, column: int, words: str) -> None:
    with pytest.raises(BadFilter, match=words) as refused:
        compile_filter(text)
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
        compile_filter(text)


def test_long_chains_and_the_deepest_nesting_allowed_compile() -> None:
    assert compile_filter(" OR ".join(f"a={n % 10}" for n in range(500))).count("==") == 500
    assert compile_filter("(" * 32 + "a = 1" + ")" * 32) == 'metadata["a"] == 1'
    assert compile_filter("NOT " * 32 + 'id = "x"') == 'id == "x"'


@given(
    st.text(max_size=60)
    | st.text('ab."`\\*()=!<>-1eE, \nNOTANDRI', max_size=60)
    | st.text("a=' “”\u20181:&|[]_.LIKEnul", max_size=40)
)
@settings(max_examples=600, deadline=None)
def test_any_text_compiles_or_is_a_bad_filter(text: str) -> None:
    with contextlib.suppress(BadFilter):
        assert isinstance(compile_filter(text), str)


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
        compile_filter(text)
    assert f"column {column}:" in refused.value.message
    assert hint in refused.value.message


def test_spaces_of_every_kind_part_words() -> None:
    assert compile_filter("a\u00a0=\u30001") == 'metadata["a"] == 1'


_IDENTIFIERS = st.sampled_from(["a", "label", "a.b", "metadata.id", "id", "uri", "`x y`"])
_TEXTS = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=12)


@given(_IDENTIFIERS, st.sampled_from(["=", "!=", "<", "<=", ">", ">="]), _TEXTS)
@settings(max_examples=400, deadline=None)
def test_no_text_escapes_its_quotes(name: str, operator: str, text: str) -> None:
    written = text.replace("\\", "\\\\").replace('"', '\\"').replace("*", "\\*")
    compiled = compile_filter(f'{name} {operator} "{written}"')
    literals, outside = _split_literals(compiled)
    assert set(literals) - {"a", "b", "label", "id", "x y"} <= {text}
    assert text in literals
    assert set("".join(outside).split()) <= {"id", "uri", *_OPERATORS, "metadata[]", "metadata[][]", "or"}


@given(_TEXTS)
def test_ids_in_expressions_are_quoted(image_id: str) -> None:
    for expression in (id_above(image_id), ids_not_among([image_id]), ids_among([image_id])):
        literals, outside = _split_literals(expression)
        assert literals == [image_id]
        assert "".join(outside) in ("id > ", "not id in []", "id in []")


def test_two_expressions_are_joined_without_mixing_their_ors() -> None:
    assert both("a or b", "c") == "(a or b) and (c)"
    assert both("", "c") == "c"
    assert both("c", "") == "c"
    assert both("", "") == ""


_OPERATORS = {"==", "<", "<=", ">", ">="}


def _split_literals(expression: str) -> tuple[list[str], list[str]]:
    """The texts between the quotes as Milvus reads them, and what is outside; from Milvus' grammar, not from our code."""
    literals: list[str] = []
    outside: list[str] = [""]
    position = 0
    while position < len(expression):
        if expression[position] != '"':
            outside[-1] += expression[position].replace("(", "").replace(")", "")
            position += 1
            continue
        position += 1
        literal = ""
        while expression[position] != '"':
            if expression[position] == "\\":
                position += 1
                literal += {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", '"': '"'}[expression[position]]
            else:
                assert expression[position] not in "\r\n"
                literal += expression[position]
            position += 1
        position += 1
        literals.append(literal)
        outside.append("")
    return literals, outside
