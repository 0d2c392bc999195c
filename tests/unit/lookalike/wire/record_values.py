"""Values of records for tests: any, as hypothesis strategies made from the records' types, or one with nothing left out."""

from __future__ import annotations

import dataclasses
import enum
import functools
import types
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, get_args, get_origin, get_type_hints

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as numpy_st

from lookalike.records.collection import Collection, OtherGeneration
from lookalike.records.image import Image
from lookalike.records.job import Comparison, Job, JobFilter, JobOptions
from lookalike.records.search import BatchAnswer, SearchResult
from lookalike.records.search_options import SearchOptions
from lookalike.records.source import UploadItem
from lookalike.spaces import HistogramSettings, ModelSettings, Space, SpaceKind, SpaceSpec
from lookalike.spans import MAX_SPAN

NOT_CARRIED: dict[type, frozenset[str]] = {
    Collection: frozenset({"uid", "written_last"}),
    OtherGeneration: frozenset({"written_last"}),
    Image: frozenset({"other_vectors"}),
    Job: frozenset({"collection_uid", "manifest", "unidentified", "forced", "trace"}),
    JobOptions: frozenset({"space", "model", "allow_missing", "grace", "force"}),
    SearchOptions: frozenset({"condition"}),
    Comparison: frozenset({"labelled", "standard_error"}),
}
"""Fields of records that the contract has no place for: matters of the server."""

_FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
_VECTORS = numpy_st.arrays(np.float32, st.integers(0, 4), elements=_FLOATS)


def _space(name: str) -> st.SearchStrategy[Space]:
    return st.builds(Space, st.just(name), st.integers(0, 2**31 - 1), kind=st.deferred(lambda: any_of(SpaceKind)))


_THRESHOLDS = st.integers(1, 1_000_000).map(lambda millionths: millionths / 1_000_000)
_OWN: dict[tuple[type, str], st.SearchStrategy[Any]] = {
    (JobOptions, "threshold"): _THRESHOLDS,
    (HistogramSettings, "bins"): st.sampled_from([8, 16, 32, 64, 128, 256]),
    (HistogramSettings, "grid"): st.integers(1, 6),
    (ModelSettings, "name"): st.from_regex(r"[a-z][a-z0-9]{0,9}", fullmatch=True),
    (SpaceSpec, "name"): st.from_regex(r"[a-z][a-z0-9]{0,9}", fullmatch=True),
    (SearchResult, "spaces"): st.tuples(_space("a"), _space("b")),
    (SearchResult, "query_vectors"): st.dictionaries(st.sampled_from("ab"), _VECTORS),
    (Image, "vectors"): st.dictionaries(st.sampled_from("ab"), _VECTORS),
    (BatchAnswer, "error"): st.none(),
    (BatchAnswer, "result"): st.deferred(lambda: _any_result()),
    (Job, "error"): st.text(min_size=1, max_size=20),
    (Job, "error_reason"): st.text(min_size=1, max_size=20),
    (JobFilter, "text"): st.text("abc /.", max_size=20),
    (UploadItem, "content"): st.binary(max_size=20),
}
"""What a field's type says too little about."""
_OWN_WHOLE: dict[tuple[type, str], Any] = {
    (JobOptions, "threshold"): 0.75,
    (BatchAnswer, "error"): None,
    (HistogramSettings, "bins"): 8,
    (HistogramSettings, "grid"): 2,
    (SearchResult, "query_vectors"): {"text": np.ones(2, np.float32)},
    (UploadItem, "content"): b"picture",
}
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
_SCALARS: dict[Any, st.SearchStrategy[Any]] = {
    str: st.text(max_size=20),
    int: st.integers(0, 2**31 - 1),
    float: _FLOATS,
    bool: st.booleans(),
    bytes: st.binary(max_size=20),
    object: _JSON,
    timedelta: st.timedeltas(-MAX_SPAN, MAX_SPAN),
    datetime: st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC)),
}
_WHOLE_SCALARS: dict[Any, Any] = {
    str: "text", int: 7, float: 0.5, bool: True, bytes: b"bytes", object: {"year": 2026, "tags": ["a", None, True, 0.5]},
    datetime: datetime(2026, 11, 30, 9, 30, tzinfo=UTC) + timedelta(microseconds=5),
    timedelta: timedelta(seconds=75, microseconds=5),
}  # fmt: skip


@functools.cache
def any_of(hint: Any) -> st.SearchStrategy[Any]:
    """Values of a type: a record, or what fields of records hold. What is not carried has its default."""
    if hint in _SCALARS:
        return _SCALARS[hint]
    if _is_array(hint):
        return _VECTORS
    if dataclasses.is_dataclass(hint):
        hints = get_type_hints(hint)
        record: Any = hint
        carried = {name: _own(record, name, hints[name]) for name in _carried(record)}
        return st.builds(record, **carried, **{name: st.just("") for name in _bare(record)})
    if hint is types.NoneType:
        return st.none()
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return st.sampled_from(hint)
    arguments = get_args(hint)
    match get_origin(hint):
        case types.UnionType:
            return st.one_of(*map(any_of, arguments))
        case origin if origin is tuple and arguments[1:] == (...,):
            return st.lists(any_of(arguments[0]), max_size=3).map(tuple)
        case origin if origin is tuple:
            return st.tuples(*map(any_of, arguments))
        case origin if origin is frozenset:
            return st.frozensets(any_of(arguments[0]), max_size=3)
        case origin if origin is Mapping:
            return st.dictionaries(any_of(arguments[0]), any_of(arguments[1]), max_size=3)
    raise TypeError(f"no values of {hint}")


def _any_result() -> st.SearchStrategy[Any]:
    return any_of(SearchResult)


def _own(record: type, name: str, hint: Any) -> st.SearchStrategy[Any]:
    return _OWN[record, name] if (record, name) in _OWN else any_of(hint)


def whole(hint: Any, way: int = 0) -> Any:
    """A value of a type in which nothing is empty, absent or at its default; of a union the member number `way`."""
    if hint in _WHOLE_SCALARS:
        return _WHOLE_SCALARS[hint]
    if _is_array(hint):
        return np.array([0.5, 0.25], np.float32)
    if dataclasses.is_dataclass(hint):
        hints = get_type_hints(hint)
        record: Any = hint
        carried = {name: _own_whole(record, name, hints[name], way) for name in _carried(record)}
        return record(**carried, **dict.fromkeys(_bare(record), ""))
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return list(hint)[-1]
    arguments = [one for one in get_args(hint) if one is not types.NoneType]
    match get_origin(hint):
        case types.UnionType:
            return whole(arguments[way % len(arguments)], way)
        case origin if origin in (tuple, frozenset):
            return origin([whole(arguments[0], way)])
        case origin if origin is Mapping:
            return {whole(arguments[0], way): whole(arguments[1], way)}
    raise TypeError(f"no value of {hint}")


def _own_whole(record: type, name: str, hint: Any, way: int) -> Any:
    return _OWN_WHOLE[record, name] if (record, name) in _OWN_WHOLE else whole(hint, way)


def alike(a: Any, b: Any) -> bool:
    """Whether two values are equal in everything, arrays and fields that `==` leaves out included."""
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b)
    if dataclasses.is_dataclass(a):
        return type(a) is type(b) and all(alike(getattr(a, f.name), getattr(b, f.name)) for f in dataclasses.fields(a))
    if isinstance(a, Mapping):
        return isinstance(b, Mapping) and a.keys() == b.keys() and all(alike(a[key], b[key]) for key in a)
    if isinstance(a, tuple | list):
        return type(a) is type(b) and len(a) == len(b) and all(map(alike, a, b))
    return type(a) is type(b) and bool(a == b)


def _carried(record: type) -> list[str]:
    return [field.name for field in dataclasses.fields(record) if field.name not in NOT_CARRIED.get(record, ())]


def _bare(record: type) -> list[str]:
    """Fields that are not carried and have no default: text."""
    required = [field.name for field in dataclasses.fields(record) if _has_no_default(field)]
    return [name for name in required if name in NOT_CARRIED.get(record, ())]


def _has_no_default(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _is_array(hint: Any) -> bool:
    return get_origin(hint) is np.ndarray
