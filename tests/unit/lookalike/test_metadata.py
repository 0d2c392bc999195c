"""What metadata cannot hold is refused by its path; what passes can be carried; two that differ are distinguished."""

from __future__ import annotations

import json
import math
import types
from functools import reduce
from typing import Any

import pytest

from lookalike.errors import InvalidArgument
from lookalike.metadata import MAX_METADATA_LEVELS, check_metadata, read_json, same_metadata
from lookalike.v1 import image_pb2, search_service_pb2
from lookalike.wire.values import metadata_from, metadata_message

WHOLE = "whole numbers from -9223372036854775808 to 9223372036854775807 are allowed, others as text"
FINITE = "numbers from -1.7976931348623157e+308 to 1.7976931348623157e+308 are allowed"


def nested(levels: int) -> dict[str, object]:
    """Metadata of `levels` objects in one another."""
    return reduce(lambda inner, _: {"k": inner}, range(levels - 1), {"k": 1})


@pytest.mark.parametrize(
    ("metadata", "field", "problem"),
    [
        ({"n": 2**63}, "metadata.n", f"9223372036854775808 is out of range; {WHOLE}"),
        ({"n": -(2**63) - 1}, "metadata.n", f"-9223372036854775809 is out of range; {WHOLE}"),
        ({"a": {"b": [1, 2, 3, 2**64]}}, "metadata.a.b[3]", f"18446744073709551616 is out of range; {WHOLE}"),
        ({"n": 10**5000}, "metadata.n", f"a whole number of more than 38 digits is out of range; {WHOLE}"),
        ({"a": 1, "n": math.inf}, "metadata.n", f"Infinity is not a number of JSON; {FINITE}"),
        ({"n": (1, -math.inf)}, "metadata.n[1]", f"-Infinity is not a number of JSON; {FINITE}"),
        ({"n": [{"x y": math.nan}]}, "metadata.n[0].`x y`", f"NaN is not a number of JSON; {FINITE}"),
        ({"n": b"bytes"}, "metadata.n", "is of type bytes; JSON has text, numbers, true, false, null, lists and objects"),
        ({"n": {1: 2}}, "metadata.n[1]", "its key is of type int; keys must be text"),
        ({"n": ["\ud800"]}, "metadata.n[0]", "holds text that is not Unicode (a lone surrogate)"),
        ({"\ud800": 1}, "metadata.`\\ud800`", "holds text that is not Unicode (a lone surrogate)"),
        ({"n": "x" * 16 * 1024}, "metadata", "is 16392 bytes long as JSON; at most 16384 are allowed"),
        (nested(MAX_METADATA_LEVELS + 1), "metadata" + 32 * ".k", "is nested deeper than 32 levels"),
        (nested(5000), "metadata" + 32 * ".k", "is nested deeper than 32 levels"),
        ({"n": reduce(lambda inner, _: [inner], range(40), list[Any]())}, "metadata.n" + 31 * "[0]", "is nested deeper"),
    ],
    ids=lambda value: "" if isinstance(value, dict) else value[:24],
)
def test_metadata_that_cannot_be_stored_is_refused_by_its_path(metadata: dict[str, object], field: str, problem: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        check_metadata(metadata)
    assert (refused.value.field, refused.value.problem.startswith(problem)) == (field, True), refused.value.message
    with pytest.raises(InvalidArgument) as refused:
        check_metadata(metadata, "images[3].metadata")
    assert refused.value.field == f"images[3].{field}"


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"n": 2**63 - 1},
        {"n": -(2**63)},
        {"n": 1.7976931348623157e308, "m": 5e-324},
        {"deep": {"list": (1, 2.5, None, True, "ü")}},
        types.MappingProxyType({"n": types.MappingProxyType({"m": 1})}),
    ],
)
def test_metadata_that_can_be_stored_passes(metadata: dict[str, object]) -> None:
    check_metadata(metadata)


def test_the_deepest_metadata_that_passes_fits_into_the_deepest_message() -> None:
    def carried(metadata: dict[str, object]) -> object:
        image = image_pb2.Image(metadata=metadata_message(metadata))
        response = search_service_pb2.SearchResponse(neighbours=[search_service_pb2.Neighbour(image=image)])
        parsed = search_service_pb2.SearchResponse.FromString(response.SerializeToString())
        return metadata_from(parsed.neighbours[0].image.metadata)

    check_metadata(nested(MAX_METADATA_LEVELS))
    assert carried(nested(MAX_METADATA_LEVELS)) == nested(MAX_METADATA_LEVELS)


@pytest.mark.parametrize(
    "number", ["NaN", "Infinity", "-Infinity", "1e999", "9223372036854775808", "9" * 4300, "-" + "9" * 200_000], ids=len
)
def test_a_number_that_cannot_be_stored_is_read_and_refused_by_its_path(number: str) -> None:
    with pytest.raises(InvalidArgument, match=r"^metadata\.n\[1\]: "):
        check_metadata(read_json(f'{{"n": [1, {number}]}}'))


@pytest.mark.parametrize("text", ["", "{", '{"n": 1]', "{}{}", '{"n": 01}', "[" * 100_000])
def test_what_is_not_json_is_not_read(text: str) -> None:
    with pytest.raises((ValueError, RecursionError)):
        read_json(text)


VALUES = ["1", "1.0", "true", "0", "false", "null", '"1"', "9007199254740993", "9007199254740992.0", "[]", "{}", "[1]", "[1.0]"]


def test_metadata_that_differs_is_distinguished() -> None:
    for one in VALUES:
        for other in VALUES:
            assert same_metadata(json.loads(f'{{"n": [{one}]}}'), json.loads(f'{{"n": [{other}]}}')) == (one == other)
    assert same_metadata({"a": 1, "b": (1, 2)}, {"b": [1, 2], "a": 1})
    assert not same_metadata({"a": 1}, {"a": 1, "b": None})
