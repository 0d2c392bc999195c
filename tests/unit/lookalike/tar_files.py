"""Tar files for tests."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Mapping


def tar(members: Mapping[str, bytes], *, compressed: bool = False) -> bytes:
    """A tar with these files in order; of a name such as `link@target`, a symbolic link."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name.partition("@")[0])
            member.size = len(content)
            if "@" in name:
                member.type, member.linkname = tarfile.SYMTYPE, name.partition("@")[2]
            archive.addfile(member, io.BytesIO(content))
    return gzip.compress(packed.getvalue()) if compressed else packed.getvalue()
