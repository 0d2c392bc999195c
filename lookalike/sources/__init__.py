"""URI -> bytes, guarded. The only code that reads pictures and lists from places that a caller names; the indexer and the
gateway call it.

    roots     the guard: which folders and URLs may be read at all
    reader    one picture by its URI
    addresses which of the web's addresses are public
    web       http:// and https://, by urllib3
    buckets   s3://, by fsspec's s3fs
    members   tar://MEMBER::ARCHIVE, one file of an archive
    opening   whole lists and archives as streams, and what lies under a folder or prefix

This package exports `Artifacts` too.
"""

from __future__ import annotations

from lookalike.artifacts import Artifacts, ArtifactWriter
from lookalike.sources.reader import Reader
from lookalike.sources.roots import Roots

__all__ = ["ArtifactWriter", "Artifacts", "Reader", "Roots"]
