"""Checks of the options of `lookalike up`, made before any part starts: a wrong place is reported at once, by its option."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from lookalike.errors import InvalidArgument, LookalikeError, Unavailable

if TYPE_CHECKING:
    from lookalike.local.parts import LocalConfig

_DIAL_S = 3.0
_MILVUS_PORT = 19530


def checked(config: LocalConfig) -> LocalConfig:
    """`config`, with every place in the form that the parts take. Raises `InvalidArgument`, and `Unavailable` where no Milvus
    answers."""
    uri = None if config.milvus_uri is None else milvus_uri(config.milvus_uri)
    if uri is not None:
        check_answers(uri)
    return replace(
        config,
        milvus_uri=uri,
        registry=None if config.registry is None else registry(config.registry),
        source_roots=source_roots(config.source_roots),
        models=models(config.models),
    )


def milvus_uri(given: str) -> str:
    """The URL of a Milvus: `http://HOST:PORT` also for `HOST:PORT` and `HOST`. Raises `InvalidArgument` ("--milvus")."""
    text = given.strip()
    url = text if "://" in text else f"http://{text}"
    if "@" in url:
        # The text before the @ may be a password, so no error shows it.
        problem = "holds a user's name; a token or password belongs into the file that LOOKALIKE_MILVUS_TOKEN_FILE names"
        raise InvalidArgument("--milvus", problem)
    try:
        parts = urlsplit(url)
        good = bool(parts.hostname) and parts.scheme in ("http", "https") and not any(map(str.isspace, url))
        port = parts.port
    except ValueError:
        good, port = False, None
    if not good:
        raise InvalidArgument("--milvus", f"{given[:80]!r} is no URL of a Milvus server; http://HOST:{_MILVUS_PORT} is one")
    return url if port is not None or "://" in text else f"{url.rstrip('/')}:{_MILVUS_PORT}"


def check_answers(uri: str) -> None:
    """Raise `Unavailable` where nothing listens at the URL `uri` of a Milvus."""
    parts = urlsplit(uri)
    port = parts.port or (443 if parts.scheme == "https" else _MILVUS_PORT)
    try:
        socket.create_connection((parts.hostname or "", port), timeout=_DIAL_S).close()
    except OSError as error:
        problem = f"nothing answers at {parts.hostname}:{port} ({error.strerror or error}); start it first, or name another"
        raise Unavailable("--milvus", problem) from error


def registry(given: str) -> str:
    """A registry's folder as an absolute path, or its URL as it is. Raises `InvalidArgument` ("--registry")."""
    if "://" not in given and "::" not in given:
        folder = Path(given).expanduser().resolve()
        if folder.exists() and not folder.is_dir():
            raise InvalidArgument("--registry", f"{given[:80]!r} is not a folder")
        if not folder.is_dir():
            raise InvalidArgument("--registry", f"folder {str(folder)!r} does not exist; make it, or name another")
        return str(folder)
    from lookalike.artifacts import Artifacts

    try:
        Artifacts(given)
    except LookalikeError as error:
        problem = error.problem if isinstance(error, InvalidArgument) else error.message
        raise InvalidArgument("--registry", f"{given[:80]!r} {problem}") from error
    return given


def source_roots(given: Sequence[Path | str]) -> tuple[str, ...]:
    """Folders as absolute paths, and URLs as they are. Raises `InvalidArgument` ("--source-root")."""
    from lookalike.sources.roots import Roots, path_of_root, scheme_of_url

    roots = []
    for one in map(str, given):
        try:
            Roots([one])
            folder = None if scheme_of_url(one) else path_of_root(one).expanduser().resolve()
        except LookalikeError as error:
            problem = error.problem if isinstance(error, InvalidArgument) else error.message
            raise InvalidArgument("--source-root", problem) from error
        if folder is not None and os.pathsep in str(folder):
            raise InvalidArgument("--source-root", f"{str(folder)!r} holds {os.pathsep!r}, which parts one root from the next")
        if folder is not None and not folder.is_dir():
            raise InvalidArgument("--source-root", f"{str(folder)!r} is not a folder that exists")
        roots.append(one if folder is None else str(folder))
    return tuple(roots)


def models(given: Sequence[Path]) -> tuple[Path, ...]:
    """Folders of bundles. Raises `InvalidArgument` ("--model") for one that holds none."""
    folders = tuple(one.expanduser().resolve() for one in given)
    for folder in folders:
        if not (folder / "bundle.json").is_file():
            raise InvalidArgument("--model", f"{str(folder)!r} holds no model: there is no bundle.json")
    return folders
