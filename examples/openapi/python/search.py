"""Searches over HTTP with a client generated from the gateway's OpenAPI document: `python search.py URL COLLECTION PICTURE`."""

from __future__ import annotations

import base64
import sys
from pathlib import Path

from lookalike_api.api.search import search
from lookalike_api.client import Client
from lookalike_api.models import (
    ErrorResponse,
    QueryInput,
    SearchOptionsInput,
    SearchOptionsInputConsistency,
    SearchOptionsInputWeights,
    SearchRequest,
)


def main() -> None:
    """Search, and print the neighbours."""
    if len(sys.argv) != 4:
        sys.exit("usage: search.py URL COLLECTION PICTURE")
    url, collection, picture = sys.argv[1:]
    query = QueryInput(image=base64.b64encode(Path(picture).read_bytes()).decode())
    options = SearchOptionsInput(
        top_k=3,
        spaces=["siamese", "histogram"],
        weights=SearchOptionsInputWeights.from_dict({"siamese": 2}),
        consistency=SearchOptionsInputConsistency.CONSISTENCY_STRONG,
    )
    with Client(base_url=url, raise_on_unexpected_status=True) as client:
        answer = search.sync(collection, client=client, body=SearchRequest(query, options), x_timeout_s=10)
    if answer is None or isinstance(answer, ErrorResponse):
        sys.exit(f"{answer.error.reason}: {answer.error.message}" if answer else "the answer is not JSON")
    for hit in answer.neighbours:
        print(f"{hit.rank:4} {hit.similarity:11.4f}  {hit.image.id}")


if __name__ == "__main__":
    main()
