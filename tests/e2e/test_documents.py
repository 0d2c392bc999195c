"""The commands of the documents, run as they stand and in their order, in one folder with real photographs.

Only the addresses of this system and the id of a job are put in (`Reader.as_typed`). Blocks that are not run here say so in the
document: see `tests/documents.py`.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lookalike.client import Client, JobState
from tests.documents import SHELL, Block, blocks, documents
from tests.servers.processes import until
from tests.servers.stack import Stack

PHOTOGRAPHS = Path("/usr/share/palapeli/collection")
"""Debian's `palapeli-data`: five photographs of 0.7 to 2 megapixels."""
BLOCKS = sorted(
    (block for path in documents() for block in blocks(path) if block.is_run_here),
    key=lambda block: (block.document != "README.md", block.document, block.line),  # README fills what others search in.
)


@dataclass(frozen=True)
class Reader:
    """Somebody who types what the documents print, in the folder `home`, with a system that runs."""

    stack: Stack
    home: Path

    def as_typed(self, text: str) -> str:
        """`text` with this system's addresses and model, and with what a reader puts in for the words in capitals."""
        inside = self.stack.inside
        ports = inside.system.ports
        put_in = {
            "http://127.0.0.1:50051": f"http://{self.stack.target}",
            "127.0.0.1:50051": self.stack.target,
            "http://127.0.0.1:8080": self.stack.http_url,
            "127.0.0.1:6379": f"127.0.0.1:{ports.redis}",
            '"/data/': f'"{inside.sources}/',
            "model:photo": "model:fashion",  # The one that this system serves.
        }
        for printed, ours in put_in.items():
            text = text.replace(printed, ours)
        if re.search(r"\bJOB\b", text):
            with Client(self.stack.target) as client:
                text = re.sub(r"\bJOB\b", list(client.list_jobs("pictures"))[-1].id, text)
        return text

    def run(self, block: Block) -> str:
        """What the block prints; it must end well, and so must a job that it sends."""
        printed = self._shell(block) if block.language == SHELL else self._python(block)
        for request_id in re.findall(r'"request_id": "([^"]+)"', block.text):
            self._watch(request_id)
        return printed

    def _watch(self, request_id: str) -> None:
        with Client(self.stack.target) as client:

            def sent() -> list[str]:
                return [job.id for job in client.list_jobs("pictures") if job.request_id == request_id]

            until(sent, f"a worker takes the message of {request_id}")
            *_, ended = client.watch_job(sent()[0])
            assert (ended.state, ended.counts.indexed) == (JobState.SUCCEEDED, 1)

    def _shell(self, block: Block) -> str:
        environment = {
            **os.environ,
            "HOME": str(self.home),
            "LOOKALIKE_ADDRESS": self.stack.target,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        script = f"set -euo pipefail\n{self.as_typed(block.text)}"
        command = ["bash", "-c", script]
        done = subprocess.run(command, cwd=self.home, env=environment, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, f"{block.name}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def _python(self, block: Block) -> str:
        printed = io.StringIO()
        with contextlib.chdir(self.home), contextlib.redirect_stdout(printed):
            exec(compile(self.as_typed(block.text), block.name, "exec"), {})  # noqa: S102 - what the document has
        return printed.getvalue()


@pytest.fixture(scope="module")
def reader(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    photographs = sorted(PHOTOGRAPHS.glob("*.jpg"))
    if len(photographs) < 5:
        pytest.skip(f"there are no photographs in {PHOTOGRAPHS}: apt install palapeli-data")
    home = tmp_path_factory.mktemp("home")
    for number, photograph in enumerate(photographs):
        folder = home / "Pictures" / ("beach" if number % 2 else "mountains")
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(photograph, folder / ("holiday.jpg" if number == 1 else photograph.name))
    shutil.copy(photographs[1], home / "holiday.jpg")
    shutil.copy(photographs[2], home / "another.jpg")
    assert (home / "holiday.jpg").stat().st_size > 131_072, "more than Linux takes as one argument"
    (stack.inside.sources / "new.csv").write_text(f"uri,label\n{stack.inside.sources / 'new.jpg'},new\n")
    shutil.copy(photographs[0], stack.inside.sources / "new.jpg")
    yield Reader(stack, home)
    with Client(stack.target) as client:
        for name in {one.name for one in client.list_collections()} & {"pictures", "pictures_again", "things", "colours"}:
            client.delete_collection(name)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.name)
def test_a_block_does_what_its_document_says(reader: Reader, block: Block) -> None:
    printed = reader.run(block)
    (expected,) = block.expectations
    assert re.search(expected, printed), f"{block.name} printed\n{printed}"
