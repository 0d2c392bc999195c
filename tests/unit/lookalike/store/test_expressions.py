"""What filters and ids are compiled to for Milvus, and that no text escapes its quotes."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lookalike.errors import BadFilter
from lookalike.filters.parsing import parse
from lookalike.store.milvus.expressions import both, compiled, id_above, ids_among, ids_not_among


def compile_filter(text: str) -> str:
    return compiled(parse(text))


@pytest.mark.parametrize(
    ("text", "expression"),
    [
        ("", ""),
        (" \n\t", ""),
        ('label = "Coat"', 'metadata["label"] == "Coat"'),
        ("a.b = -1.5e3", 'metadata["a"]["b"] == -1500'),
        ("a = 0.5", 'metadata["a"] == 0.5'),
        ("a < 9007199254740992", 'metadata["a"] < 9007199254740992'),
        ("a = 9007199254740993", '(metadata["a"] > 9007199254740992 and metadata["a"] <= 9007199254740993)'),
        ("a > 9007199254740995", 'metadata["a"] >= 9007199254740996'),
        ("a = 1e300", 'metadata["a"] == 1e+300'),
        ("revision > -9223372036854775808", "revision > -9223372036854775807"),
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
        ('index_time >= "1970-01-01T01:00:00.5+01:00"', "indexed_at >= 500000"),
        ("ANDY = 1 AND INN = 2", '(metadata["ANDY"] == 1 and metadata["INN"] == 2)'),
    ],
)
def test_a_filter_compiles_to_an_expression_of_both_servers(text: str, expression: str) -> None:
    assert compile_filter(text) == expression


def test_and_binds_tighter_than_or_and_not_tightest() -> None:
    assert compile_filter('id = "a" OR id = "b" AND NOT id = "c"') == '(id == "a" or (id == "b" and not (id == "c")))'
    assert compile_filter('(id = "a" OR id = "b") AND id = "c"') == '((id == "a" or id == "b") and id == "c")'
    assert compile_filter('NOT (id = "a" OR NOT id = "b")') == '(not (id == "a") and id == "b")'


def test_long_chains_and_the_deepest_nesting_allowed_compile() -> None:
    assert compile_filter(" OR ".join(f"a={n % 10}" for n in range(500))).count("==") == 500
    assert compile_filter("(" * 32 + "a = 1" + ")" * 32) == 'metadata["a"] == 1'
    assert compile_filter("NOT " * 32 + 'id = "x"') == 'id == "x"'


@pytest.mark.parametrize("leaf", ["NOT a<1", "NOT a!=9223372036854775807", 'NOT a NOT IN ("x", "y")', 'NOT a="x*"', "a!=1"])
def test_the_deepest_filter_allowed_is_not_too_deep_for_milvus_lite(leaf: str) -> None:
    text, wrappings = leaf, [" AND {0} AND {0} AND {0} OR {0} OR {0} OR {0}", " OR {0}"]
    while wrappings:
        deeper = f"({text}{wrappings[0].format(leaf)})"
        try:
            parse(deeper)
            text = deeper
        except BadFilter:
            wrappings.pop(0)
    depths = list(itertools.accumulate((character == "(") - (character == ")") for character in compile_filter(text)))
    assert 90 < max(depths) <= 100


_IDENTIFIERS = st.sampled_from(["a", "label", "a.b", "metadata.id", "id", "uri", "`x y`"])
_TEXTS = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=12)


@given(_IDENTIFIERS, st.sampled_from(["=", "!=", "<", "<=", ">", ">="]), _TEXTS)
@settings(max_examples=400, deadline=None)
def test_no_text_escapes_its_quotes(name: str, operator: str, text: str) -> None:
    written = text.replace("\\", "\\\\").replace('"', '\\"').replace("*", "\\*")
    written_out = compile_filter(f'{name} {operator} "{written}"')
    literals, outside = _split_literals(written_out)
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
