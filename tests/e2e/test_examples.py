"""The examples, each built and run as `examples/README.md` says, against a running system.

A test is skipped where the tools of its language are absent; in continuous integration (`CI`, or `TOOLS_REQUIRED` of `.ci/run`)
it fails.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from lookalike.client import Client
from tests.documents import ROOT, blocks
from tests.pictures.scenes import scene
from tests.servers.stack import Stack

README = ROOT / "examples" / "README.md"
COUNT = 4
SERIAL = 2**53 + 1
"""The serial number of the first picture; a floating-point number cannot hold it."""


@dataclass(frozen=True)
class Example:
    """`text` is the block of the README; `tools` are the commands and files that it needs, beyond this project's, with Debian's
    packages."""

    collection: str
    text: str
    tools: Sequence[tuple[str, str]] = ()


def readme(first_line: str) -> str:
    """The block of the README that begins with this line."""
    (found,) = (block.text for block in blocks(README) if block.text.startswith(f"{first_line}\n"))
    return found


NODE = (("node", "nodejs"), ("npm", "npm"))
JAVA = (
    ("javac", "default-jdk-headless"),
    ("protoc", "protobuf-compiler"),
    ("grpc_java_plugin", "protobuf-compiler-grpc-java-plugin"),
    ("/usr/share/java/grpc-api.jar", "libgrpc-java"),
    ("/usr/share/java/protobuf.jar", "libprotobuf-java"),
    ("/usr/share/java/netty-common.jar", "libnetty-java"),
    ("/usr/share/java/perfmark-api.jar", "libperfmark-java"),
    ("/usr/share/java/guava.jar", "libguava-java"),
    ("/usr/share/java/geronimo-annotation-1.3-spec.jar", "libgeronimo-annotation-1.3-spec-java"),
)
EXAMPLES = (
    Example("example_python", readme("python examples/python/search.py 127.0.0.1:50051 ~/Pictures/*.jpg")),
    Example("example_typescript", readme("cd examples/typescript"), NODE),
    Example("example_java", readme("cd examples/java"), JAVA),
)
GENERATED = (
    Example("example_python", readme("cd examples/openapi/typescript"), NODE),
    Example("example_python", readme("cd examples/openapi/python")),
)
"""Clients generated from the OpenAPI document."""


def run(example: Example, stack: Stack, home: Path) -> str:
    """What the block prints, where it ends well; the addresses in it are those of `stack`."""
    environment = {
        **os.environ,
        "HOME": str(home),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "UV_CACHE_DIR": os.environ.get("UV_CACHE_DIR", str(Path.home() / ".cache" / "uv")),
        "NPM_CONFIG_CACHE": os.environ.get("NPM_CONFIG_CACHE", str(Path.home() / ".npm")),
        "NPM_CONFIG_PREFER_OFFLINE": "true",
        "NPM_CONFIG_UPDATE_NOTIFIER": "false",
    }
    text = example.text.replace("127.0.0.1:50051", stack.target).replace("http://127.0.0.1:8080", stack.http_url)
    script = f"set -euo pipefail\n{text.replace('holiday.jpg', 'scene0.jpg')}"
    done = subprocess.run(
        ["bash", "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=180
    )
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    return done.stdout


def check_tools(example: Example) -> None:
    absent = [package for tool, package in example.tools if not (shutil.which(tool) or Path(tool).is_file())]
    if absent:
        assert not os.environ.keys() & {"CI", "TOOLS_REQUIRED"}, f"continuous integration lacks {', '.join(absent)}"
        pytest.skip(f"there is no {', '.join(absent)}: apt install {' '.join(absent)}")


@pytest.fixture(scope="module")
def home(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home with a few pictures; what the examples make is deleted at the end."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "Pictures").mkdir()
    for number in range(COUNT):
        scene(number).save(folder / "Pictures" / f"scene{number}.jpg")
    yield folder
    with Client(stack.target) as client:
        for name in {one.name for one in client.list_collections()} & {example.collection for example in EXAMPLES}:
            client.delete_collection(name)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.collection.removeprefix("example_"))
def test_an_example_indexes_finds_and_reads_whole_numbers_exactly(example: Example, stack: Stack, home: Path) -> None:
    check_tools(example)
    printed = run(example, stack, home)
    assert f"SUCCEEDED: {COUNT} indexed, 0 skipped, 0 failed" in printed
    by_file, by_id = printed.split("\nLike the ")[1:]
    rows = r"^ *(\d+) +([01]\.\d{4}) +(\d+) +(scene\d\.jpg)$"
    found = re.findall(rows, by_file, re.MULTILINE)
    assert found[0] == ("1", "1.0000", str(SERIAL), "scene0.jpg"), printed
    assert len(found) == 3, "top_k"
    assert {(int(serial), name) for _, _, serial, name in found} <= {(SERIAL + i, f"scene{i}.jpg") for i in range(COUNT)}
    others = re.findall(rows, by_id, re.MULTILINE)
    assert sorted(name for *_, name in others) == [f"scene{number}.jpg" for number in range(1, COUNT)]
    assert re.search(r"^IMAGE_NOT_FOUND: .*no such image", by_id, re.MULTILINE), printed


@pytest.mark.parametrize("example", GENERATED, ids=("typescript", "python"))
def test_a_client_generated_from_the_openapi_document_compiles_and_searches(example: Example, stack: Stack, home: Path) -> None:
    check_tools(example)
    with Client(stack.target) as client:
        filled = example.collection in {one.name for one in client.list_collections()}
    if not filled:
        run(EXAMPLES[0], stack, home)
    found = re.findall(r"^ *(\d+) +([01]\.\d{4}) +(scene\d\.jpg)$", run(example, stack, home), re.MULTILINE)
    assert [rank for rank, *_ in found] == ["1", "2", "3"]
    assert found[0] == ("1", "1.0000", "scene0.jpg")
