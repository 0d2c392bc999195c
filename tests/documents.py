"""The fenced blocks of the repository's documents, and what each says about who runs it.

A block without a language is shell, `python` is Python; anything else (`text`, `yaml`, `ini`) holds no commands. Where no test
runs a block as it stands, a comment right above it says why:

    <!-- not run: the reason -->
    <!-- run by: the file that runs it -->

All other blocks are run by tests/e2e/test_documents.py, which looks for what `EXPECTED` says of each.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
SHELL, PYTHON = "", "python"
EXPECTED = {
    "lookalike ingest ~/Pictures": r"(?s)5 items: 5 indexed, 0 skipped, 0 failed.*" + r"\.jpg.*" * 5,
    "lookalike collections create things": r"(?s)photo +model fashion.*fashion +model fashion.*16 RGB bins"
    r".*5 indexed.*photo distance\ttones distance.*holiday\.jpg",
    "buf curl": r"(?s)lookalike\.v1\.SearchService/Search\n.*\"neighbours\": \[",
    "from pathlib import Path\n\nfrom lookalike.client import Client, Query": (
        r"(?s)^1 \S*/holiday\.jpg 1\.0.*'label': 'beach'.*\n[01] .*holiday\.jpg"
    ),
    "curl -F image=": r'(?s)"neighbours":.*"index": [01], "answer":.*"index": [01], "answer":.*SUCCEEDED',
    "lookalike images count": r'(?s)^2\n.*"count":"2".*"sample_ids":\[".*would delete 2 images',
    "from lookalike.client import Client, ImageUpdate": r"^REVISION_MISMATCH .*has revision \d+ now",
    "curl 'http://127.0.0.1:8080/v1/collections/pictures/images?": r'(?s)^\{"images":\[\{"id".*"next_page_token":"\w+',
    "curl -H 'X-Timeout-S: 5'": r'"neighbours":',
    "from celery import Celery": r"^$",
    "lookalike collections export": r"exported 6 images(.*\n)+.*imported 6 images into collection pictures_again",
    "lookalike collections create colours": r"(?s)16 RGB bins.*5 indexed.*\n1\t1\.0.*holiday\.jpg",
    "lookalike collections update things": (
        r"(?s)spaces photo and tones; weights tones 0\.5; ef 128\n.*photo distance\ttones distance"
    ),
    "curl -X PATCH": r'"description":"".*"ef":128',
    "lookalike search holiday.jpg --collection pictures --space siamese": r"ms in the gateway: query vectors .*fuse",
    "from pathlib import Path\n\nfrom lookalike.client import Client\n": r"^\['\w+'.*SearchTiming\(total=",
    "lookalike sizing --images 100M": r"337\.6 GB",
    "lookalike sizing --images 1B": r"HNSW",
}
"""What a block must print, by the beginning of its text."""
_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"<!-- (?P<kind>not run|run by): (?P<said>[^\n]+?) -->\n *\Z")
_INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")


@dataclass(frozen=True, slots=True)
class Block:
    """`not_run` is the reason, `run_by` the file, each "" where the document does not say it."""

    document: str
    line: int
    language: str
    text: str
    not_run: str
    run_by: str

    @property
    def name(self) -> str:
        return f"{self.document}:{self.line}"

    @property
    def is_run_here(self) -> bool:
        return self.language in (SHELL, PYTHON) and not (self.not_run or self.run_by)

    @property
    def expectations(self) -> list[str]:
        """What it must print, as patterns of `EXPECTED`; a block that is run has one."""
        return [pattern for beginning, pattern in EXPECTED.items() if self.text.startswith(beginning)]

    @property
    def commands(self) -> list[str]:
        """The lines of a shell block, each with the lines that continue it, without comments and the text of files."""
        without_files = re.sub(r"<<'(\w+)'\n.*?^\1$", "", self.text, flags=re.MULTILINE | re.DOTALL)
        joined = re.sub(r"\\\n\s*|(?<=\|)\n\s*", " ", without_files)
        return [command for line in joined.splitlines() if (command := re.sub(r"(^|\s)#.*", "", line).strip())]


def documents() -> list[Path]:
    """Every document of the repository: Markdown at the root, of the examples and in its packages."""
    folders = ("deploy", "docs", "embedder", "gateway", "indexer", "lookalike", "tests")
    return sorted(
        [
            *ROOT.glob("*.md"),
            *ROOT.glob("examples/*.md"),
            *(path for folder in folders for path in (ROOT / folder).rglob("*.md")),
        ]
    )


def blocks(path: Path) -> list[Block]:
    """Its blocks, in order."""
    text = path.read_text()
    found = []
    for match in _FENCE.finditer(text):
        comment = _COMMENT.search(text[: match.start()] + match["indent"])
        said = {comment["kind"]: comment["said"]} if comment else {}
        lines = "".join(line.removeprefix(match["indent"]) for line in match["text"].splitlines(keepends=True))
        line = text.count("\n", 0, match.start()) + 1
        name = path.relative_to(ROOT).as_posix()
        found.append(Block(name, line, match["language"], lines, said.get("not run", ""), said.get("run by", "")))
    return found


def inline_commands(path: Path) -> list[str]:
    """What stands in the text as `lookalike ...` or `make ...`."""
    prose = _FENCE.sub("", path.read_text())
    return [code for code in _INLINE.findall(prose) if re.match(r"(lookalike|make) [a-z-]", code)]
