"""What the OpenAPI document says beyond the contract: an example of every body and of what stands in a path.

`/docs` fills its forms with them, and generated clients take them over. Called by `app` once, when the document is made.
"""

from __future__ import annotations

from typing import Any

from lookalike.records.search_options import DEFAULT_TOP_K

_COLLECTION, _IMAGE, _JOB = "photos", "beach/0001.jpg", "0123456789abcdef0123456789abcdef"
_FORM = "multipart/form-data"
_OPTIONS = {"spaces": ["siamese"], "top_k": DEFAULT_TOP_K}
_METADATA = {"label": "Coat", "year": 2019}
_BODIES: dict[str, Any] = {
    "CreateCollection": {"name": _COLLECTION, "description": "Holidays, from 2019 on"},
    "UpdateCollection": {"description": "Holidays, from 2019 to 2026", "defaults": {"ef": 128}},
    "ReembedCollection": {"model": "photo"},
    "Search": {"query": {"image_id": _IMAGE}, "options": _OPTIONS},
    "SearchBatch": {"queries": [{"image_id": _IMAGE}, {"image_id": "beach/0002.jpg"}], "options": _OPTIONS},
    "DeleteImages": {"ids": [_IMAGE]},
    "UpdateImages": {"updates": [{"id": _IMAGE, "metadata": _METADATA, "merge": True}]},
    "PatchImage": {"metadata": _METADATA},
    "CreateIngestJob": {"collection": _COLLECTION, "source": {"folder": {"uri": "/data/photos"}}},
    "RetryIngestFailures": {"request_id": "retry-of-monday"},
}
"""Bodies in JSON by operation. A form shows its fields one by one, and has examples there."""
_FORM_FIELDS: dict[str, Any] = {
    "spaces": ["siamese"],
    "filter": "",
    "weights": "{}",
    "ids": [_IMAGE],
    "metadata": ['{"label": "Coat", "year": 2019}'],
}


def complete(document: dict[str, Any]) -> None:
    """Add them to `document`."""
    for path, operations in document["paths"].items():
        for operation in operations.values():
            for parameter in operation.get("parameters", ()):
                if parameter["required"]:
                    in_path = {"id": _JOB if path.startswith("/v1/ingest-jobs") else _IMAGE}
                    parameter["example"] = in_path.get(parameter["name"], _COLLECTION)
            for kind, content in operation.get("requestBody", {}).get("content", {}).items():
                if kind == _FORM:
                    _show(content["schema"]["properties"])
                elif (example := _BODIES.get(operation["operationId"])) is not None:
                    content["example"] = example


def _show(properties: dict[str, Any]) -> None:
    for name, example in _FORM_FIELDS.items():
        if name in properties:
            properties[name]["example"] = example
