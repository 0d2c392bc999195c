"""`make words`: the words that are not used here are found, in prose and in names, and nothing else is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.documents import ROOT

LIST = [line.partition("->")[0] for line in (ROOT / ".ci" / "words.txt").read_text().splitlines()]


def found(text: str, folder: Path, *, name: str = "page.py") -> str:
    """What the check says of a file with `text`; "" for nothing."""
    page = folder / name
    page.write_text(text)
    done = subprocess.run([sys.executable, "-m", "codespell_lib", page], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.stdout


def test_each_word_of_the_list_is_found_at_the_head_of_a_sentence_and_within(tmp_path: Path) -> None:
    lines = [line for word in LIST for line in (f"# {word.capitalize()}, it began.", f"# Then {word}.")]
    assert len(found("\n".join(lines), tmp_path).splitlines()) == len(lines)


@pytest.mark.parametrize(
    "text",
    [
        "chunks_laid_down_total",  # codespell:ignore laid_down
        "TOLD = 3",  # codespell:ignore told
        "def test_callers_are_told_why() -> None:",  # codespell:ignore told
        'f"{name}\\ntold {n}"',  # codespell:ignore told
    ],
)
def test_a_word_in_a_name_or_in_a_text_is_found(text: str, tmp_path: Path) -> None:
    assert found(text, tmp_path)


@pytest.mark.parametrize(
    "text",
    ["at = stream.tell()", "an amendment in Toldeep", "incomes of all", "so manyfold", "# told  # codespell:ignore told"],
)
def test_other_words_and_a_files_method_are_not(text: str, tmp_path: Path) -> None:
    assert found(text, tmp_path) == ""
