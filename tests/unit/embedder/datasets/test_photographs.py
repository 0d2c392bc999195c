"""Photographs are found in packages by their content, wherever they lie in there."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

from embedder.datasets.photographs import Photograph, gather, listed
from lookalike.errors import NotFound
from tests.pictures.made_pictures import encoded
from tests.pictures.scenes import scene

pytestmark = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="opens Debian packages with dpkg-deb")

LOOSE, PACKED, UNWANTED = encoded(scene(1), "JPEG"), encoded(scene(2, 321), "WEBP"), encoded(scene(3), "PNG")


@pytest.fixture
def debs(tmp_path: Path) -> Path:
    """A folder with one package: a picture, another, and a Qt resource file with a WebP picture among other things."""
    root = tmp_path / "tree"
    (root / "DEBIAN").mkdir(parents=True)
    (root / "DEBIAN" / "control").write_text(
        "Package: some-photos\nVersion: 1\nArchitecture: all\nMaintainer: a <a@b.c>\nDescription: x\n"
    )
    folder = root / "usr" / "share"
    folder.mkdir(parents=True)
    (folder / "loose.jpg").write_bytes(LOOSE)
    (folder / "other.png").write_bytes(UNWANTED)
    (folder / "packed.rcc").write_bytes(b"qres\0\0" + PACKED + b"RIFF and more" + UNWANTED)
    (tmp_path / "debs").mkdir()
    subprocess.run(
        ["dpkg-deb", "--build", "-Znone", str(root), str(tmp_path / "debs" / "some-photos_1_all.deb")],
        check=True, capture_output=True,
    )  # fmt: skip
    return tmp_path / "debs"


def test_each_goes_where_its_role_says_and_what_is_not_there_is_reported(debs: Path, tmp_path: Path) -> None:
    wanted = [
        photograph("train", LOOSE, "moved.jpg"),
        photograph("query", PACKED, "a.rcc#0"),
        photograph("train", b"", "gone.png"),
    ]
    missing = gather(tmp_path / "out", debs, wanted)
    assert [one.path for one in missing] == ["gone.png"]
    written = {path.relative_to(tmp_path / "out").parts[0]: path.read_bytes() for path in (tmp_path / "out").rglob("*.*")}
    assert written == {"train": LOOSE, "query": PACKED}


def photograph(role: str, content: bytes, path: str) -> Photograph:
    return Photograph(role, "some-photos", path, hashlib.sha256(content).hexdigest()[:16])


def test_a_package_that_cannot_be_had_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"lookalike-no-such-package.*put its \.deb file into"):
        gather(tmp_path / "out", tmp_path / "debs", [Photograph("train", "lookalike-no-such-package", "a.jpg", "0123")])


def test_every_listed_photograph_has_a_file_name_of_its_own() -> None:
    names = [photograph.file_name for photograph in listed()]
    assert len(set(names)) == len(names) > 500
