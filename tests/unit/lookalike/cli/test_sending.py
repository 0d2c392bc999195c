"""What is read here and sent, and what is sent as a problem."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lookalike.cli.sending import list_source, upload_item
from lookalike.errors import InvalidArgument


def test_what_cannot_be_read_is_a_problem_of_its_own_item_and_nothing_waits(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"picture")
    (tmp_path / "b.png").touch()
    os.mkfifo(tmp_path / "c.png")
    (tmp_path / "d.png").symlink_to(tmp_path / "nowhere")
    (tmp_path / "e.png").symlink_to(tmp_path / "a.png")
    sent = [upload_item(item) for item in list_source(tmp_path, labels_from_folders=False)]
    assert [bool(item.content) for item in sent] == [True, False, False, False, True]
    assert [item.problem.rpartition("' ")[2] for item in sent] == [
        "",
        "is empty",
        "is not a file",
        "cannot be read: No such file or directory",
        "",
    ]


def test_a_single_pipe_is_a_problem_and_a_manifest_that_is_one_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    os.mkfifo(tmp_path / "m.csv")
    (item,) = list_source(tmp_path / "a.png", labels_from_folders=False)
    assert "is not a file" in upload_item(item).problem
    with pytest.raises(InvalidArgument, match="is not a file"):
        list(list_source(tmp_path / "m.csv", labels_from_folders=False))


def test_lines_whose_metadata_cannot_be_stored_are_sent_as_problems(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"picture")
    lines = [f'{{"uri": "a.png", "x": {"[" * 60 + "]" * 60}}}', '{"uri": "a.png", "x": 1}']
    (tmp_path / "m.jsonl").write_text("\n".join(lines))
    first, second = (upload_item(item) for item in list_source(tmp_path / "m.jsonl", labels_from_folders=False))
    assert "nested deeper" in first.problem
    assert first.metadata == {}
    assert second.content == b"picture"
