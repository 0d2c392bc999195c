"""Artifacts on a disk that is full."""

from __future__ import annotations

from pathlib import Path

from lookalike.sources import Artifacts, ArtifactWriter


class FullArtifacts(Artifacts):
    """Every write goes to /dev/full, which has no space; reading works."""

    def open_write(self, path: str, *, durable: bool = True) -> ArtifactWriter:
        writer = super().open_write(path, durable=durable)
        writer.stream.close()
        writer.stream = Path("/dev/full").open("wb")  # noqa: SIM115 - the writer closes it
        return writer
