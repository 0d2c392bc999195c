"""The OpenAPI document, taken at its word by a fuzzer that knows nothing else of the gateway (https://schemathesis.io)."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.contract.gateway_collections import fill
from tests.servers.stack import Stack

CONFIG = Path(__file__).parents[1] / "schemathesis" / "schemathesis.toml"
PHASES = "examples,coverage,fuzzing"


@pytest.mark.long
@pytest.mark.timeout(900)
def test_all_that_the_document_invites_to_is_taken_and_nothing_else(stack: Stack) -> None:
    """All checks are on: no 5xx, only declared codes, types and shapes, what fits is taken and what does not is refused."""
    command = os.environ["SCHEMATHESIS"]
    fill(stack.target, "photos", 12)
    try:
        asked = [command, "run", f"{stack.http_url}/openapi.json", "--checks", "all", "--phases", PHASES]
        subprocess.run(asked, cwd=CONFIG.parent, check=True, timeout=900)
    finally:
        with stack.client() as client:
            for collection in client.list_collections():
                client.delete_collection(collection.name)
