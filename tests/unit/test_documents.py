"""Commands in documents that no test can run, for they take minutes or need a cluster: their programs know every flag."""

from __future__ import annotations

import re
import shlex
import subprocess
from functools import cache
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.exceptions import TyperException
from typer.main import get_command

from lookalike.cli.main import build_app
from tests.documents import EXPECTED, PYTHON, ROOT, SHELL, Block, blocks, documents, inline_commands

BLOCKS = [block for path in documents() for block in blocks(path)]
PROGRAM = re.compile(r"\s*(\$ |\.venv/bin/|(lookalike|make|curl|buf|docker|podman|kubectl|git|pip|python3?|tar|for) )")


def test_every_block_with_commands_is_run_or_says_why_not() -> None:
    assert len(BLOCKS) > 30
    for block in BLOCKS:
        assert block.language in (SHELL, PYTHON, "text", "yaml", "ini"), f"{block.name}: what is {block.language}?"
        if block.language not in (SHELL, PYTHON):
            hidden = [line for line in block.text.splitlines() if PROGRAM.match(line)]
            assert not hidden, f"{block.name}: a command in a block that is no shell"
        assert not block.run_by or (ROOT / block.run_by).is_file(), block.name
        # A block that is run is run by tests/e2e/test_documents.py, which takes all of these documents.
        is_known = not block.is_run_here or len(block.expectations) == 1
        assert is_known, f"{block.name}: neither marked as not run nor in EXPECTED of tests/documents.py"


def test_every_expectation_is_of_one_block() -> None:
    for beginning in EXPECTED:
        assert len([block for block in BLOCKS if block.is_run_here and block.text.startswith(beginning)]) == 1, beginning


@pytest.mark.parametrize("path", documents(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_fence_is_of_a_block(path: Path) -> None:
    fences = re.findall(r"^\s*(?:>\s*)*(?:```|~~~)", path.read_text(), re.MULTILINE)
    assert len(fences) == 2 * len(blocks(path))


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.run_by], ids=lambda block: block.name)
def test_what_is_said_to_run_a_block_takes_it_from_the_document(block: Block) -> None:
    taken = r"(?:^\s*(?:\[.*\] \|\| )?readme '|\breadme\(\")([^'\"]+)['\"]"  # As a shell script does, or a test.
    firsts = re.findall(taken, (ROOT / block.run_by).read_text(), re.MULTILINE)
    assert any(block.text.startswith(first) for first in firsts), f"{block.run_by} does not name the block's first line"


@pytest.mark.parametrize(
    "block", [block for block in BLOCKS if block.language == SHELL and block.not_run], ids=lambda block: block.name
)
def test_a_block_that_is_not_run_is_shell_whose_programs_know_its_flags(block: Block) -> None:
    # What a reader puts in: `<this repository>` is no redirection.
    script = re.sub(r"<[\w ]+>(?=\s)", "it", block.text)
    assert subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True, check=False).stderr == ""
    for command in block.commands:
        for words in _simple(command):
            check(words, block.name)


@pytest.mark.parametrize("path", documents(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_command_in_the_text_exists_with_its_flags(path: Path) -> None:
    for code in inline_commands(path):
        for words in _simple(code):
            check(words, path.name, whole=False)


def test_a_flag_or_command_that_is_not_there_is_found() -> None:
    for wrong in ("lookalike ingest --labels x", "lookalike frobnicate", "lookalike train a --uot b", "make no-such-thing"):
        with pytest.raises(AssertionError, match="in a document"):
            check(wrong.split(), "a document")


def links(path: Path) -> list[str]:
    """Where the links of a document lead, without those to other hosts. Code and comments hold none."""
    prose = re.sub(r"^( *)```.*?^\1```$|<!--.*?-->|`[^`\n]+`", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    targets = re.findall(r"\]\(<?([^)\s>]+)>?\)|^\[[^\]]+\]: (\S+)", prose, flags=re.MULTILINE)
    return [target for pair in targets for target in pair if target and not re.match(r"[a-z]+:", target)]


def anchors(path: Path) -> set[str]:
    """The names of a document's headings, as GitHub makes them: `#### Where it's run` is `where-its-run`."""
    prose = re.sub(r"^( *)```.*?^\1```$", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", prose, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def wrong_links(path: Path) -> list[str]:
    """The links of a document that lead nowhere."""
    wrong = []
    for link in links(path):
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        is_there = target.exists() and target.is_relative_to(ROOT)
        if not is_there or (anchor and (target.suffix != ".md" or anchor not in anchors(target))):
            wrong.append(link)
    return wrong


@pytest.mark.parametrize(
    "path", [*documents(), *ROOT.glob(".github/**/*.md")], ids=lambda path: path.relative_to(ROOT).as_posix()
)
def test_every_relative_link_resolves(path: Path) -> None:
    assert wrong_links(path) == []


def test_a_link_that_leads_nowhere_is_found(tmp_path: Path) -> None:
    page = ROOT / "deploy" / "README.md"
    assert links(page)
    text = "[a](../README.md) [b](#no-such-heading) [c](no-such-file.md) [d](SIZING.md#the-law) [e](SIZING.md#no-law) [f](https://x.example/)"
    wrong = tmp_path / "wrong.md"
    wrong.write_text(
        text.replace("](", f"]({page.parent}/").replace(f"{page.parent}/#", "#").replace(f"{page.parent}/https", "https")
    )
    assert [link.removeprefix(f"{page.parent}/") for link in wrong_links(wrong)] == [
        "#no-such-heading",
        "no-such-file.md",
        "SIZING.md#no-law",
    ]


def test_the_errors_of_troubleshooting_are_those_of_the_product() -> None:
    headings = re.findall(r"^### `(.+)`$", (ROOT / "docs" / "troubleshooting.md").read_text(), re.MULTILINE)
    packages = [path for package in ("embedder", "gateway", "indexer", "lookalike") for path in (ROOT / package).rglob("*.py")]
    # Texts that go on in the next line are put together, values that differ become dots.
    joined = "\n".join(re.sub(r'"\s*\n\s*f?"', "", path.read_text()) for path in packages)
    said = re.sub(r"\{[^{}\n]*\}", "...", joined)
    assert len(headings) > 15
    patterns = {heading: ".*".join(map(re.escape, heading.split("..."))) for heading in headings}
    assert [heading for heading, pattern in patterns.items() if not re.search(pattern, said)] == []


DECISIONS = sorted(path for path in (ROOT / "docs" / "decisions").glob("*.md") if path.name != "README.md")


@pytest.mark.parametrize("path", DECISIONS, ids=lambda path: path.stem)
def test_a_decision_has_a_date_a_reason_and_what_would_change_it(path: Path) -> None:
    for decision in path.read_text().split("\n## ")[1:]:
        assert re.match(r".+ \(20\d\d-\d\d-\d\d\)\n\n[^\n*].+\n\n\*Would change our mind:\* .+\.\s*\Z", decision, re.DOTALL), (
            decision
        )


def test_the_index_of_decisions_has_each_by_its_title() -> None:
    index = (ROOT / "docs" / "decisions" / "README.md").read_text()
    for path in DECISIONS:
        (row,) = [line for line in index.splitlines() if f"]({path.name})" in line]
        titles = re.findall(r"^## (.+) \(", path.read_text(), re.MULTILINE)
        assert row.endswith(f"| {'; '.join(titles)} |")


@pytest.mark.parametrize(
    "path",
    [*DECISIONS, ROOT / "docs" / "adding.md", ROOT / "ARCHITECTURE.md", ROOT / "CONTRIBUTING.md"],
    ids=lambda path: path.stem,
)
def test_files_and_folders_that_a_document_names_exist(path: Path) -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    there = {f"/{line}" for line in listed} | {f"/{folder}/" for line in listed for folder in Path(line).parents}
    named = re.findall(r"`((?:[\w.-]+/)*[\w-]+\.(?:py|proto|md|yaml)|(?:[\w-]+/)+)`", path.read_text())
    assert [name for name in named if not any(one.endswith(f"/{name}") for one in there)] == []


def _simple(command: str) -> list[list[str]]:
    """The words of each of the commands that pipes and operators join. `...` is what a reader knows; `a|b` is either."""
    found: list[list[str]] = [[]]
    for part in shlex.split(command, comments=True):
        if part in ("|", "||", "&&", ";", "&"):
            found.append([])
        elif part != "...":
            found[-1].append(part)
    return [list(words) for one in found if one for words in product(*(word.split("|") for word in one))]


def check(words: list[str], where: str, *, whole: bool = True) -> None:
    """Whether the program knows what it is given. With `whole` nothing that it needs may be missing."""
    program, *arguments = words
    said = f"{' '.join(words)!r} in {where}"
    if program == "lookalike":
        problem = _problem_of(arguments, whole)
        assert not problem, f"{said}: {problem}"
    elif program == "make":
        done = subprocess.run(["make", "-n", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{said}: {done.stderr}"
    elif program.endswith("python") and arguments[:1] == ["-m"]:
        assert find_spec(arguments[1]) or find_spec(f"{arguments[1]}.__main__"), said
    elif program in ("docker", "podman", "podman-compose", "kubectl"):
        named = [word for word in arguments if re.match(r"(deploy|overlays)/[\w./-]+$", word) and "secrets/" not in word]
        assert all((ROOT / name).exists() for name in named), said


def _problem_of(arguments: list[str], whole: bool) -> str:
    """What the command line would say to `arguments` before it does anything; "" for nothing."""
    command = _command()
    try:
        context = command.make_context("lookalike", list(arguments))
        while hasattr(command, "resolve_command") and (rest := [*context._protected_args, *context.args]):
            name, command, left = command.resolve_command(context, rest)
            context = command.make_context(name, left, parent=context)
    except typer.Exit:
        return ""
    except TyperException as error:
        is_part = not whole and type(error).__name__ in ("MissingParameter", "NoArgsIsHelpError")
        return "" if is_part else f"{type(error).__name__}: {error}"
    return ""


@cache
def _command() -> Any:
    return get_command(build_app())
