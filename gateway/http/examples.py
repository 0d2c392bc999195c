"""Examples in the OpenAPI document: of every body, where the contract has those of RPCs, and of what stands in a path.

`/docs` fills its forms with them, and generated clients take them over. Called by `app` once, when the document is made.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from google.protobuf.descriptor import MethodDescriptor

from lookalike.v1 import examples_pb2

_COLLECTION, _IMAGE, _JOB = "photos", "beach/0001.jpg", "0123456789abcdef0123456789abcdef"
_FORM = "multipart/form-data"
_METADATA = {"label": "Coat", "year": 2019}
_BODIES: Mapping[str, Any] = {"PatchImage": {"metadata": _METADATA}}
"""Bodies in JSON of operations that are no RPC's. A form shows its fields one by one, and has examples there."""
_FORM_FIELDS: dict[str, Any] = {
    "spaces": ["siamese"],
    "filter": "",
    "weights": "{}",
    "ids": [_IMAGE],
    "metadata": [json.dumps(_METADATA)],
}


def complete(document: dict[str, Any], methods: Iterable[MethodDescriptor]) -> None:
    """Add them to `document`, whose operations are called as the `methods` of the contract."""
    said = {str(method.name): method.GetOptions().Extensions[examples_pb2.example] for method in methods}
    bodies = {**{name: json.loads(example) for name, example in said.items() if example}, **_BODIES}
    for path, operations in document["paths"].items():
        for operation in operations.values():
            for parameter in operation.get("parameters", ()):
                if parameter["required"]:
                    in_path = {"id": _JOB if path.startswith("/v1/ingest-jobs") else _IMAGE}
                    parameter["example"] = in_path.get(parameter["name"], _COLLECTION)
            for kind, content in operation.get("requestBody", {}).get("content", {}).items():
                if kind == _FORM:
                    _show(content["schema"]["properties"])
                elif (example := bodies.get(operation["operationId"])) is not None:
                    content["example"] = example


def _show(properties: dict[str, Any]) -> None:
    for name, example in _FORM_FIELDS.items():
        if name in properties:
            properties[name]["example"] = example
