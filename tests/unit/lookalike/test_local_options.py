"""What `lookalike up` says of places that cannot be ones, and what it quotes of a part that did not start."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

from lookalike.errors import InvalidArgument, Unavailable
from lookalike.local import options
from lookalike.local.parts import LocalConfig
from lookalike.local.waiting import last_words, slow_text


@pytest.mark.parametrize(
    ("given", "uri"),
    [
        ("http://10.0.0.5:19530", "http://10.0.0.5:19530"),
        ("https://milvus.example.com", "https://milvus.example.com"),
        ("127.0.0.1:19530", "http://127.0.0.1:19530"),
        ("milvus", "http://milvus:19530"),
        ("[::1]:19530", "http://[::1]:19530"),
        (" http://milvus:1/db ", "http://milvus:1/db"),
    ],
)
def test_a_milvus_may_be_named_without_http(given: str, uri: str) -> None:
    assert options.milvus_uri(given) == uri


@pytest.mark.parametrize("given", ["", "ftp://milvus:19530", "http://", "http://milvus:99999", "./milvus.db file", "http:///x"])
def test_what_is_no_url_of_a_milvus_is_refused(given: str) -> None:
    with pytest.raises(InvalidArgument, match=r"--milvus: .* is no URL of a Milvus server"):
        options.milvus_uri(given)


def test_a_password_in_a_url_is_refused_and_not_repeated() -> None:
    with pytest.raises(InvalidArgument, match="TOKEN_FILE") as refused:
        options.milvus_uri("http://root:secret@milvus:19530")
    assert "secret" not in str(refused.value)


def test_a_milvus_that_is_not_there_is_reported_at_once() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(Unavailable, match=f"nothing answers at {address}"):
            options.checked(LocalConfig(milvus_uri=address))
        silent.listen()
        assert options.checked(LocalConfig(milvus_uri=address)).milvus_uri == f"http://{address}"


def test_a_registry_is_a_folder_that_exists_or_a_url(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert options.registry(str(tmp_path)) == str(tmp_path)
    assert options.registry("memory://models") == "memory://models"
    for wrong in (tmp_path / "nowhere", tmp_path / "file", "nonsense://models", "s3:/bucket"):
        with pytest.raises(InvalidArgument, match="--registry"):
            options.registry(str(wrong))


def test_a_source_root_is_a_folder_that_exists_or_a_url_that_can_be_read(tmp_path: Path) -> None:
    assert options.source_roots([tmp_path, "s3://bucket/photos/"]) == (str(tmp_path), "s3://bucket/photos/")
    parting = tmp_path / f"a{os.pathsep}b"
    parting.mkdir()
    for wrong in (tmp_path / "nowhere", "ftp://host/x", "https://host/?query", parting):
        with pytest.raises(InvalidArgument, match="--source-root"):
            options.source_roots([wrong])


def test_a_model_is_a_folder_that_holds_a_bundle(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=r"--model: .* holds no model"):
        options.models([tmp_path])
    (tmp_path / "bundle.json").touch()
    assert options.models([tmp_path]) == (tmp_path,)


CHATTER = [
    "2026-11-30 04:00:00.123456: I tensorflow/core/platform/cpu_feature_guard.cc:210] This TensorFlow binary is optimized",
    "To enable the following instructions: AVX2 FMA, in other operations, rebuild TensorFlow with the appropriate flags.",
    "WARNING: All log messages before absl::InitializeLog() is called are written to STDERR",
    "E0000 00:00:1764475200.123456   12345 cuda_executor.cc:1228] INTERNAL: CUDA Runtime error",
    "/lib/keras/export.py:81: UserWarning: something",
    "  warnings.warn(",
    "",
]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([json.dumps({"service": "embedder", "event": "warming up", "level": "info"}), *CHATTER], "warming up"),
        ([json.dumps({"event": "cannot start", "problem": "no model"}), *CHATTER], "cannot start: no model"),
        ([json.dumps({"event": "died", "exception": "Traceback\nValueError: x"})], "died: ValueError: x"),
        (["lookalike: the embedder does not start: no model", *CHATTER], "lookalike: the embedder does not start: no model"),
        (["Traceback (most recent call last):", "MemoryError"], "MemoryError"),
        (['{"not": "ours"}'], '{"not": "ours"}'),
        (["x" * 500], "x" * 300),
        (CHATTER, ""),
    ],
)  # fmt: skip
def test_of_a_log_our_own_words_are_quoted(lines: list[str], said: str) -> None:
    assert last_words(lines) == said


def test_a_busy_machine_is_named_as_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(os, "getloadavg", lambda: (13.7, 0.0, 0.0))
    said = slow_text("loads TensorFlow", os.getpid(), 80.0)
    assert said.startswith("not ready after 80 s: it loads TensorFlow; it has had ")
    assert said.endswith("of processor time, and the machine is busy (load 14 on 2 cores)")
    monkeypatch.setattr(os, "getloadavg", lambda: (0.5, 0.0, 0.0))
    assert "busy" not in slow_text("", os.getpid(), 80.0)
