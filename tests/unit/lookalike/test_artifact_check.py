"""A place that cannot be written is found before a job needs it, and found again when it can."""

from __future__ import annotations

from pathlib import Path

import pytest

from lookalike import artifact_check
from lookalike.artifact_check import ArtifactCheck
from lookalike.artifacts import Artifacts
from lookalike.errors import Unavailable


def test_a_check_leaves_nothing(tmp_path: Path) -> None:
    ArtifactCheck(Artifacts(tmp_path.as_uri()))()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_place_that_takes_no_files_is_unavailable_until_it_does(tmp_path: Path) -> None:
    root = tmp_path / "artifacts"
    root.write_text("a file where the folder should be")
    check = ArtifactCheck(Artifacts(root.as_uri()))
    for _ in range(2):
        with pytest.raises(Unavailable, match="artifacts"):
            check()
    root.unlink()
    check()


def test_the_check_writes_only_now_and_then_where_all_is_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 100.0
    monkeypatch.setattr("lookalike.artifact_check.time.monotonic", lambda: now_s)
    artifacts = Artifacts(tmp_path.as_uri())
    written: list[str] = []
    write = artifacts.write
    monkeypatch.setattr(artifacts, "write", lambda path, content, **how: (written.append(path), write(path, content, **how)))
    check = ArtifactCheck(artifacts)
    for _ in range(5):
        check()
    assert len(written) == 1
    now_s += artifact_check.WRITE_EVERY_S
    check()
    assert len(written) == 2
