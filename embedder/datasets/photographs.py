"""Real photographs to train and to measure on, out of Debian packages: `make photographs`.

Owns which photographs, from which packages, and what each is for (`photographs.csv`, found by hand among all pictures of the
packages; of near-duplicates one was kept): `train`, `query` and `distractor`, by a hash of their content, so that what a model
is measured on was never trained on. The photographs have their own licences and are not part of this project.
"""

from __future__ import annotations

import csv
import hashlib
import re
import subprocess
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated

import typer

from lookalike.errors import FailedPrecondition, NotFound

LICENCES: Mapping[str, str] = {
    "gcompris-qt-data": "CC-BY, CC-BY-SA, GPL and public domain, by photograph",
    "hugin-data": "GPL-2+",
    "lomiri-wallpapers-16.04": "CC-BY-4.0 and CC-BY-SA, by photograph",
    "lomiri-wallpapers-20.04": "CC-BY-4.0 and CC-BY-SA, by photograph",
    "lxqt-themes": "LGPL-2.1+",
    "mate-backgrounds": "GPL-2+ and CC-BY-SA-4.0, by photograph",
    "opencv-doc": "BSD-3-Clause and Apache-2.0",
    "palapeli-data": "GPL-2+, GFDL-1.2+ and CC0, by photograph",
    "plasma-workspace-wallpapers": "GPL-2+ and CC-BY-SA, by photograph",
    "python3-skimage": "BSD-3-Clause and public domain, by photograph",
    "stellarium-data": "GPL-2+",
    "tuxpaint-data": "GPL-2+ and public domain, by photograph",
    "tuxpaint-stamps-default": "GPL-2",
}
"""Debian package -> licence of its photographs; the authors are named in the package's `copyright` file."""
LIST = Path(__file__).with_name("photographs.csv")
_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
_WEBP = re.compile(rb"RIFF(....)WEBP", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Photograph:
    """`role` is train, query or distractor; `path` is inside the package (`archive.rcc#n`: the n-th WebP picture of a Qt
    resource file); `sha256` holds the first 16 hex digits of its bytes' hash, and alone says which one is meant."""

    role: str
    package: str
    path: str
    sha256: str

    @property
    def file_name(self) -> str:
        suffix = ".webp" if "#" in self.path else PurePosixPath(self.path).suffix
        return f"{self.package}-{self.sha256}{suffix}"


def listed() -> tuple[Photograph, ...]:
    """The photographs of `photographs.csv`."""
    with LIST.open(newline="") as stream:
        return tuple(Photograph(**row) for row in csv.DictReader(stream))


def gather(out: Path, debs: Path, photographs: Iterable[Photograph]) -> tuple[Photograph, ...]:
    """Write `photographs` into `out/train`, `out/query` and `out/distractor`, and give those that were not found: another
    version of a package may hold others. Packages are looked for in `debs`, and downloaded into it by `apt-get`.

    Raises `NotFound` for a package that cannot be had, `FailedPrecondition` where there is no `dpkg-deb` to open one with.
    """
    wanted: dict[str, dict[str, Photograph]] = {}
    for photograph in photographs:
        wanted.setdefault(photograph.package, {})[photograph.sha256] = photograph
        (out / photograph.role).mkdir(parents=True, exist_ok=True)
    missing: list[Photograph] = []
    for package, sought in wanted.items():
        for content in _pictures(_package_file(package, debs)):
            found = sought.pop(hashlib.sha256(content).hexdigest()[:16], None)
            if found is not None:
                (out / found.role / found.file_name).write_bytes(content)
        missing.extend(sought.values())
    return tuple(missing)


def _package_file(package: str, debs: Path) -> Path:
    debs.mkdir(parents=True, exist_ok=True)
    if not list(debs.glob(f"{package}_*.deb")):
        try:
            subprocess.run(["apt-get", "download", package], cwd=debs, check=True, capture_output=True)  # noqa: S603, S607
        except (OSError, subprocess.CalledProcessError) as error:
            raise NotFound("Debian package", package, hint=f"put its .deb file into {debs}, or run apt-get update") from error
    return max(debs.glob(f"{package}_*.deb"))


def _pictures(deb: Path) -> Iterator[bytes]:
    """The content of every picture file in the package, and of every WebP picture in its Qt resource files."""
    try:
        opened = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(deb)], stdout=subprocess.PIPE)  # noqa: S603, S607
    except OSError as error:
        raise FailedPrecondition("dpkg-deb is needed to open Debian packages", reason="DPKG_MISSING") from error
    with opened, tarfile.open(fileobj=opened.stdout, mode="r|") as archive:
        for member in archive:
            suffix = PurePosixPath(member.name).suffix.lower()
            content = archive.extractfile(member) if member.isfile() and suffix in (*_SUFFIXES, ".rcc") else None
            if content is None:
                continue
            data = content.read()
            if suffix != ".rcc":
                yield data
                continue
            for match in _WEBP.finditer(data):
                yield data[match.start() : match.start() + 8 + int.from_bytes(match.group(1), "little")]


def main(
    out: Annotated[Path, typer.Argument(help="Folder that receives train/, query/ and distractor/.")],
    debs: Annotated[Path, typer.Option(help="Folder with the .deb files; what is missing is downloaded into it.")] = Path(
        "build/debs"
    ),
) -> None:
    """Gather the photographs that the model `photo` is trained and measured on."""
    missing = gather(out, debs, listed())
    for photograph in missing:
        typer.echo(f"not found: {photograph.package} {photograph.path}", err=True)
    typer.echo(f"{len(listed()) - len(missing)} photographs in {out}, {len(missing)} not found")
    if missing:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
