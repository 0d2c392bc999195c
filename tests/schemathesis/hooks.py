"""What no JSON schema can say of a request, for `make schemathesis`: texts of a format, and fields that depend on each other.

Only requests that are meant to be valid are put right here; those that are meant to be refused stay as they are.
"""

from __future__ import annotations

import base64
import io
from typing import Any

import schemathesis
from hypothesis import strategies as st
from PIL import Image
from schemathesis import GenerationMode

_KEYS = st.sampled_from(["label", "year", "price", "a_key", "`a key`"])
_VALUES = st.one_of(
    st.integers(-(2**63), 2**63 - 1).map(str),
    st.floats(-1e6, 1e6).map("{:.3f}".format),
    st.sampled_from(['"Coat"', '"two words"', '""']),
)
_COMPARISONS = st.tuples(_KEYS, st.sampled_from(["=", "!="]), _VALUES).map(" ".join)


def _joined(parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.tuples(parts, st.sampled_from(["AND", "OR"]), parts).map(lambda three: f"({' '.join(three)})"),
        parts.map(lambda one: f"NOT ({one})"),
    )


def _picture() -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (8, 8), (200, 40, 40)).save(content, "PNG")
    return content.getvalue()


PICTURE = _picture()
_CHOICES = frozenset(
    ("image", "image_id", "vectors", "histogram", "model", "folder", "manifest", "archive", "upload", "failures")
)
"""Fields of which one is given."""
schemathesis.openapi.format("filter", st.recursive(_COMPARISONS, _joined, max_leaves=6))
schemathesis.openapi.format("location", st.sampled_from(["/data/photos", "s3://bucket/photos/", "https://example.org/a.csv"]))
schemathesis.openapi.format("page-token", st.just(""))
schemathesis.openapi.format("picture", st.just(base64.b64encode(PICTURE).decode()))
schemathesis.openapi.format("binary", st.just(PICTURE))


@schemathesis.hook  # type: ignore[untyped-decorator]
def before_load_schema(_context: Any, document: dict[str, Any]) -> None:
    """Without the deadline of a call: one that passes is answered 504, as it must be, and nothing else may be 5xx."""
    for operations in document["paths"].values():
        for operation in operations.values():
            operation["parameters"] = [one for one in operation["parameters"] if one["name"] != "x-timeout-s"]


@schemathesis.hook  # type: ignore[untyped-decorator]
def filter_case(_context: Any, case: Any) -> bool:
    """Without what the fuzzer takes for wrong: what only answers have may come back in an update (https://google.aip.dev/203),
    null stands for absence also where one of several is to be chosen, and one value in a form is a list of one."""
    if not isinstance(case.body, dict):
        return True
    if case.media_type == "multipart/form-data":
        return not any(isinstance(case.body.get(name), str | bool | int | float) for name in ("ids", "metadata", "spaces"))
    update = _id_of(case) == "UpdateCollection"
    return not _has_null_choice(case.body) and (not update or case.body.keys() <= {"name", "description", "defaults"})


def _has_null_choice(value: Any) -> bool:
    if isinstance(value, list):
        return any(map(_has_null_choice, value))
    return isinstance(value, dict) and any(
        (inner is None and name in _CHOICES) or _has_null_choice(inner) for name, inner in value.items()
    )


@schemathesis.hook  # type: ignore[untyped-decorator]
def before_call(_context: Any, case: Any, _kwargs: Any) -> None:
    if case.meta is None:
        return
    name, is_form = _id_of(case), case.media_type == "multipart/form-data"
    if all(part.mode == GenerationMode.POSITIVE for part in case.meta.components.values()):
        if name == "DeleteImages" and not isinstance(case.body, dict):
            case.body, case.media_type = {}, "application/json"
        if not isinstance(case.body, dict):
            return
        _put_right(name, case.body)
    elif is_form and isinstance(case.body, dict) and any(map(_vanishes, case.body.values())):
        case.body["null"] = "a form has none: the fuzzer leaves the field out, and nothing would be wrong"
    else:
        return
    # A body that was changed would be held against the document again, as Python's values: bytes are no text.
    case._record_starting_state()


def _vanishes(value: Any) -> bool:
    return value in (None, [], {}) or (isinstance(value, list) and all(map(_vanishes, value)))


def _id_of(case: Any) -> str:
    return str(case.operation.definition.raw["operationId"])


def _put_right(name: str, body: dict[str, Any]) -> None:
    options = body.get("options", body)
    if isinstance(options, dict) and options.get("ef"):
        options["ef"] = 32768  # at least `top_k`
    if isinstance(options, dict):
        options.pop("weights", None)  # of spaces that are searched
    if "metadata" in body and isinstance(body["metadata"], dict):
        body["metadata"] = _carried(body["metadata"])
    match name:
        case "AddImages":
            for field in ("ids", "metadata"):  # one for each picture, or none
                body.pop(field, None)
        case "DeleteImages":
            body.pop("expected_revision", None)  # of one image only
            body.pop("filter", None)  # or ids
            body["ids"] = body.get("ids") or ["beach/0001.jpg"]
        case "UpdateImages":
            for number, update in enumerate(body["updates"]):  # each image once
                update["id"] = f"{number}-{update['id'][:200]}"
                update["metadata"] = _carried(update["metadata"])
        case "CreateCollection":
            body.pop("restored_spaces", None)  # a copy of what an export says
            for number, space in enumerate(body.get("spaces", ())):
                space["name"] = f"{space['name'][:50]}_{number}"  # each once
                if "histogram" in space:
                    space["histogram"] = {"bins": 64, "grid": 2}  # only some numbers of bins
        case "UpdateCollection":
            body.pop("name", None)  # that of the path
            (body.get("defaults") or {}).pop("weights", None)  # above 0
            body["description"] = body.get("description") or "something"  # else nothing would be changed
        case "ReembedCollection":
            body.pop("model", None)  # of a collection that a model fills
            if body.get("grace"):
                body["grace"] = "3600s"


def _carried(value: Any) -> Any:
    """Metadata without whole numbers of more than 64 bits, and not very deep."""
    if isinstance(value, dict):
        return {name: _carried(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_carried(inner) for inner in value]
    return value if not isinstance(value, int | float) or abs(value) < 2**63 else 0
