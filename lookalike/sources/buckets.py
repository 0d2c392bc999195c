"""Objects of S3 and of other servers with its protocol, through fsspec's s3fs. `reader` and `opening` call it.

Credentials, region and endpoint come from the usual places of AWS tools (`AWS_ACCESS_KEY_ID`, `AWS_PROFILE`, a role,
`AWS_ENDPOINT_URL`), or from fsspec's own configuration (`FSSPEC_S3_ENDPOINT_URL`, `FSSPEC_S3_ANON=true` for public buckets).
"""

from __future__ import annotations

import errno
import functools
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import fsspec

from lookalike.errors import FailedPrecondition, NotFound, Unavailable, one_line
from lookalike.items import SOURCE_UNREADABLE
from lookalike.sources.roots import FORBIDDEN
from lookalike.sources.urls import Url
from lookalike.sources.web import SOURCE_UNAVAILABLE

_CONFIG = {"connect_timeout": 5, "read_timeout": 20, "max_pool_connections": 32}
"""Timeouts in seconds, and as many connections as threads may read at a time."""
_STREAM_BLOCK = 4 * 1024 * 1024
"""Bytes per request of an object that is read from start to end."""
_RANGE = re.compile(r"bytes=(\d+)-(\d+)")
_ABSENT = ("InvalidRange", "416")
MAX_ANSWER_BYTES = 16 * 1024 * 1024
"""Bounds an answer that is read whole before it is parsed. A page of 1,000 keys of 1,024 bytes, each a `%xx`, has 4 MB."""


class Buckets:
    """Access to objects. Thread-safe. Nothing is imported or connected before the first call."""

    def read(self, url: Url, start: int, end: int) -> bytes:
        """The bytes of an object from `start` up to `end`, fewer where it ends before.

        Raises `NotFound` SOURCE_NOT_FOUND, `FailedPrecondition` SOURCE_FORBIDDEN or SOURCE_UNREADABLE, `Unavailable`
        SOURCE_UNAVAILABLE after some attempts.
        """
        with _translated(url):
            try:
                return bytes(_files().cat_file(_name(url), start=start, end=end))
            except OSError as error:
                if _code(error) in _ABSENT:
                    return b""  # No byte lies at `start` or after it; an empty object answers so.
                raise

    def open(self, url: Url) -> IO[bytes]:
        """An object as a stream that can seek. Errors of later reads are translated too. Raises as `read` does."""
        with _translated(url):
            return io.BufferedReader(_Stream(_files().open(_name(url), "rb", block_size=_STREAM_BLOCK), url), _STREAM_BLOCK)

    def keys(self, url: Url) -> Iterator[str]:
        """The keys of all objects under the folder `url`, in order, a page at a time. Raises as `read` does."""
        page: dict[str, str] = {}
        prefix = url.key.rstrip("/") + "/" if url.key.strip("/") else ""
        while True:
            with _translated(url):
                answer = _files().call_s3("list_objects_v2", Bucket=url.host, Prefix=prefix, **page)
            for entry in answer.get("Contents", ()):
                yield str(entry["Key"])
            if not answer.get("IsTruncated"):
                return
            token = str(answer.get("NextContinuationToken", ""))
            if not token or token in page.values():
                raise Unavailable(f"S3 ({url.host})", "its list of keys does not come to an end", reason=SOURCE_UNAVAILABLE)
            page = {"ContinuationToken": token}

    def stamp(self, url: Url) -> str:
        """A value that changes whenever the object does: its tag, size and time."""
        with _translated(url):
            return str(_files().ukey(_name(url)))


class _Stream(io.RawIOBase):
    """fsspec's file with its errors translated."""

    def __init__(self, file: Any, url: Url) -> None:
        self._file, self._url = file, url

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def readinto(self, buffer: Any, /) -> int:
        with _translated(self._url):
            piece = self._file.read(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


def _files() -> Any:
    # fsspec keeps one instance per process.
    config = {**_CONFIG, "http_session_cls": _bounded_session()}
    return fsspec.filesystem("s3", use_listings_cache=False, config_kwargs=config)


@functools.cache
def _bounded_session() -> type[Any]:
    """aiobotocore's session, with bounded answers: a list or an error has at most `MAX_ANSWER_BYTES`, since it is held as a
    whole, and a range of an object no more than the range. A longer answer is `FailedPrecondition` SOURCE_UNREADABLE."""
    import aiohttp
    import botocore.exceptions as boto  # type: ignore[import-untyped]
    from aiobotocore.httpsession import AIOHTTPSession  # type: ignore[import-untyped]

    class Answer(aiohttp.ClientResponse):
        async def start(self, connection: Any) -> aiohttp.ClientResponse:
            await super().start(connection)
            asked = _RANGE.fullmatch(self.request_info.headers.get("Range", ""))
            if asked and self.status < 300:
                most = int(asked[2]) - int(asked[1]) + 1
                if self.content_length is None or self.content_length > most:
                    self.close()
                    sent = "an answer without a length" if self.content_length is None else f"{self.content_length:,} bytes"
                    raise _sent(f"{sent} instead of the {most:,} bytes that were asked for", self.url.host)
            return self

        async def read(self) -> bytes:
            # Of objects the content is read in pieces, from `content`.
            pieces, left = [], MAX_ANSWER_BYTES
            async for piece in self.content.iter_any():
                left -= len(piece)
                if left < 0:
                    self.close()
                    raise _sent(f"an answer of more than {MAX_ANSWER_BYTES:,} bytes", self.url.host)
                pieces.append(piece)
            return b"".join(pieces)

    class Session(AIOHTTPSession):  # type: ignore[misc]
        async def send(self, request: Any) -> Any:
            try:
                return await super().send(request)
            except boto.HTTPClientError as error:
                # A `ClientError` would be tried again, with the same answer.
                if isinstance(error.kwargs.get("error"), FailedPrecondition):
                    raise error.kwargs["error"] from error
                raise

        async def _get_session(self, proxy_url: str | None) -> aiohttp.ClientSession:
            session = await super()._get_session(proxy_url)
            session._response_class = Answer  # noqa: SLF001 - aiobotocore makes the session, and passes no class on.
            return session  # type: ignore[no-any-return]

    return Session


def _sent(what: str, host: str | None) -> FailedPrecondition:
    return FailedPrecondition(f"S3 ({host or ''}) sent {what}", reason=SOURCE_UNREADABLE)


def _name(url: Url) -> str:
    return url.host + url.path


def _code(error: OSError) -> str:
    """S3's code of the error."""
    response = getattr(error.__cause__, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))


@contextmanager
def _translated(url: Url) -> Iterator[None]:
    import aiohttp
    import botocore.exceptions as boto

    shown = str(url)[:200]
    try:
        yield
    except FileNotFoundError as error:
        raise NotFound("source", shown) from error
    except (PermissionError, boto.NoCredentialsError, boto.PartialCredentialsError, boto.ProfileNotFound) as error:
        given = isinstance(error, PermissionError)
        problem = "may not be read with the credentials that are set" if given else "needs credentials, and none are set"
        raise FailedPrecondition(
            f"{shown!r} {problem}; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile or a role of the workers, or "
            "FSSPEC_S3_ANON=true for public buckets",
            reason=FORBIDDEN,
        ) from error
    except boto.ParamValidationError as error:
        raise FailedPrecondition(f"{shown!r} is not a name that S3 takes", reason=SOURCE_UNREADABLE) from error
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.EPERM, errno.ENAMETOOLONG, errno.ENOSYS) or error.errno is None:
            raise FailedPrecondition(f"{shown!r} cannot be read: {one_line(error)}", reason=SOURCE_UNREADABLE) from error
        raise Unavailable(f"S3 ({url.host})", one_line(error), reason=SOURCE_UNAVAILABLE) from error
    except (boto.BotoCoreError, aiohttp.ClientError, TimeoutError) as error:
        raise Unavailable(f"S3 ({url.host})", one_line(error), reason=SOURCE_UNAVAILABLE) from error
