"""What the OpenAPI document says beyond the models: ranges of numbers as the core has them, and an example of every body.

`/docs` fills its forms with them, and generated clients take them over. Called by `app` once, when the document is made.
"""

from __future__ import annotations

from typing import Any

from lookalike.names import MAX_EF, MAX_PAGE_SIZE, MAX_TOP_K
from lookalike.records.search_options import DEFAULT_TOP_K

_RANGES: dict[str, dict[str, int]] = {
    "top_k": {"minimum": 1, "maximum": MAX_TOP_K, "default": DEFAULT_TOP_K},
    "ef": {"minimum": 0, "maximum": MAX_EF, "default": 0},
    "page_size": {"minimum": 0, "maximum": MAX_PAGE_SIZE, "default": 0},
}
"""By field. The models have the contract's 32 bits: what is out of range is refused by the core, in its words."""
_PATH_PARAMETERS = {"collection": "photos", "image_id": "beach/0001.jpg", "id": "beach/0001.jpg"}
_FORM = "multipart/form-data"
_METADATA = {"label": "Coat", "year": 2019}
_SEARCH = {"image_id": "beach/0001.jpg", "top_k": DEFAULT_TOP_K, "spaces": ["siamese"]}
_BODIES: dict[tuple[str, str], Any] = {
    ("post", "/v1/collections"): {"name": "photos", "description": "Holidays, from 2019 on"},
    ("post", "/v1/collections/{collection}:reembed"): {"model": "photo"},
    ("post", "/v1/collections/{collection}/search"): _SEARCH,
    ("post", "/v1/collections/{collection}/search:batch"): {
        "queries": [{"image_id": "beach/0001.jpg"}, {"image_id": "beach/0002.jpg"}],
        "top_k": DEFAULT_TOP_K,
    },
    ("post", "/v1/collections/{collection}/images:delete"): {"ids": ["beach/0001.jpg"]},
    ("post", "/v1/collections/{collection}/images:update"): {
        "updates": [{"id": "beach/0001.jpg", "metadata": _METADATA, "merge": True}]
    },
    ("patch", "/v1/collections/{collection}/images/{image_id}"): {"metadata": _METADATA},
    ("post", "/v1/ingest-jobs"): {"collection": "photos", "source": {"folder": {"uri": "/data/photos"}}},
    ("post", "/v1/ingest-jobs/{job_id}:retry"): {"request_id": "retry-of-monday"},
}
"""Examples of bodies in JSON. A form shows its fields one by one, and has examples there."""
_FORM_FIELDS: dict[str, Any] = {
    "spaces": ["siamese"],
    "filter": "",
    "weights": "{}",
    "ids": ["beach/0001.jpg"],
    "metadata": ['{"label": "Coat", "year": 2019}'],
}


def complete(document: dict[str, Any]) -> None:
    """Add them to `document`."""
    _narrow(document)
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            for parameter in operation.get("parameters", ()):
                if parameter["required"] and parameter["name"] in _PATH_PARAMETERS:
                    parameter["example"] = _PATH_PARAMETERS[parameter["name"]]
            for kind, content in operation.get("requestBody", {}).get("content", {}).items():
                if kind == _FORM:
                    _show(content["schema"]["properties"])
                elif (example := _BODIES.get((method, path))) is not None:
                    content["example"] = example


def _narrow(part: Any) -> None:
    """Give every number of `_RANGES` its own, wherever a schema or a parameter has it."""
    if isinstance(part, list):
        for inner in part:
            _narrow(inner)
    elif isinstance(part, dict):
        for name, schema in part.get("properties", {}).items() if isinstance(part.get("properties"), dict) else ():
            _to_range(name, schema)
        if isinstance(part.get("schema"), dict) and isinstance(part.get("name"), str):
            _to_range(part["name"], part["schema"])
        for inner in part.values():
            _narrow(inner)


def _to_range(name: str, schema: dict[str, Any]) -> None:
    integers = [schema, *schema.get("anyOf", ())]
    if name in _RANGES and any(one.get("type") == "integer" for one in integers):
        for key in ("anyOf", "exclusiveMaximum"):
            schema.pop(key, None)
        schema.update({"type": "integer", **_RANGES[name]})


def _show(properties: dict[str, Any]) -> None:
    for name, example in _FORM_FIELDS.items():
        if name in properties:
            properties[name]["example"] = example
