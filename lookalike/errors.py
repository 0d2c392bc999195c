"""Every exception that Lookalike raises on purpose.

    LookalikeError                  the base: catches them all
    ├── InvalidArgument             a field of the request is wrong            INVALID_ARGUMENT     400
    │   ├── BadImage                these bytes cannot be used as a picture
    │   └── BadFilter               the filter expression does not parse
    ├── NotFound                    the named thing does not exist             NOT_FOUND            404
    ├── AlreadyExists               the named thing exists                     ALREADY_EXISTS       409
    ├── FailedPrecondition          right request, wrong state of the system   FAILED_PRECONDITION  409
    │   └── FingerprintMismatch     two vectors that must not meet
    ├── Aborted                     others have changed what the request names ABORTED              409
    │   └── RevisionMismatch        the image was written since it was read
    ├── Overloaded                  refused at once; try again later           RESOURCE_EXHAUSTED   429
    ├── Unavailable                 a dependency does not answer               UNAVAILABLE          503
    │   └── CallLost                it vanished while it had the call
    ├── DeadlineExceeded            the caller's time is up                    DEADLINE_EXCEEDED    504
    ├── Cancelled                   the caller has gone                        CANCELLED            499
    │   └── LeaseLost               a worker's unit is another's now; never leaves the indexer
    └── Internal                    a defect of the product                    INTERNAL             500

A library's own errors are translated into these where the library is imported. `wire.status` holds the one table that maps
them to gRPC and HTTP and back, so that a client catches the same class that the service raised. Standard library only.
"""

from __future__ import annotations

from collections.abc import Mapping


def one_line(said: object, most: int = 200) -> str:
    """The text of a library's error, or another text, on one line of at most `most` characters; the name of an error's class
    where the error has no text."""
    line = " ".join(str(said).split())[:most]
    return line or ("" if isinstance(said, str) else type(said).__name__)


def forget_frames(error: BaseException) -> None:
    """Let go of the frames that `error` went through. Called where an error has been answered, and is not raised again.

    Those frames hold the request, and some library keeps the error in a circle: gRPC's call has the exception of its abort. A
    request of 32 MiB would be freed with that circle, long after its answer.
    """
    error.__traceback__ = error.__context__ = error.__cause__ = None


class LookalikeError(Exception):
    """The base of all. `str()` is one line for a person; `reason` is UPPER_SNAKE for a program.

    `field` is the request field at fault (dotted, as in the proto) where there is one; `metadata` holds further facts as
    strings; `retry_after_s` is set where trying again later makes sense. None of them holds image bytes or secrets.
    """

    reason = "UNKNOWN"

    def __init__(
        self,
        message: str,
        *,
        reason: str | None = None,
        field: str | None = None,
        metadata: Mapping[str, str] | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or type(self).reason
        self.field = field
        self.metadata = dict(metadata or {})
        self.retry_after_s = retry_after_s


class InvalidArgument(LookalikeError):
    """A field of the request is wrong. `problem` says what is wrong with `field`, and what is allowed."""

    reason = "INVALID_ARGUMENT"

    def __init__(self, field: str, problem: str, *, reason: str | None = None) -> None:
        super().__init__(f"{field}: {problem}", reason=reason, field=field)
        self.problem = problem


class BadImage(InvalidArgument):
    """Bytes that cannot be used. `reason` is one of `IMAGE_EMPTY`, `IMAGE_TOO_LARGE` (bytes), `IMAGE_TOO_MANY_PIXELS`,
    `IMAGE_TOO_COSTLY` (memory or work), `IMAGE_CRASHED_DECODER` (it ended the process that decoded it),
    `IMAGE_WITHOUT_FEATURES` (the model sees nothing in it),
    `IMAGE_FORMAT_UNKNOWN` (not of a kind that is read; the text names the kind where it is recognised), `IMAGE_UNREADABLE`
    (truncated or damaged; the text says where), `IMAGE_BREAKS_EMBEDDER` (it ended the embedder again and again, or was never
    answered for)."""

    reason = "IMAGE_UNREADABLE"

    def __init__(self, problem: str, *, reason: str | None = None, field: str = "image") -> None:
        super().__init__(field, problem, reason=reason)


class BadFilter(InvalidArgument):
    """A filter that does not parse or does not type-check; the message says where (column, from 1)."""

    reason = "FILTER_INVALID"

    def __init__(self, problem: str, *, field: str = "filter") -> None:
        super().__init__(field, problem)


class NotFound(LookalikeError):
    """No `kind` (collection, space, image, ingest job, model, ...) is called `name`."""

    reason = "NOT_FOUND"

    def __init__(self, kind: str, name: str, *, hint: str = "", field: str | None = None) -> None:
        message = f"{kind} {name!r} does not exist" + (f"; {hint}" if hint else "")
        reason = f"{kind.upper().replace(' ', '_')}_NOT_FOUND"
        super().__init__(message, reason=reason, field=field, metadata={"kind": kind, "name": name})


class AlreadyExists(LookalikeError):
    """A `kind` called `name` exists."""

    reason = "ALREADY_EXISTS"

    def __init__(self, kind: str, name: str, *, hint: str = "") -> None:
        message = f"{kind} {name!r} exists already" + (f"; {hint}" if hint else "")
        super().__init__(message, metadata={"kind": kind, "name": name})


class FailedPrecondition(LookalikeError):
    """The request is well formed, but the system is not in the state that it needs."""

    reason = "FAILED_PRECONDITION"


class FingerprintMismatch(FailedPrecondition):
    """Vectors made in two ways were about to be compared. Names both fingerprints."""

    reason = "FINGERPRINT_MISMATCH"

    def __init__(self, space: str, expected: str, actual: str) -> None:
        super().__init__(
            f"space {space!r} holds vectors of fingerprint {expected}, the embedder makes {actual}; "
            "serve the model the collection was made with, or re-embed the collection",
            metadata={"space": space, "expected": expected, "actual": actual},
        )


class Aborted(LookalikeError):
    """Nothing was done, since others have changed what the request is about. The caller reads it again before another try."""

    reason = "ABORTED"


class RevisionMismatch(Aborted):
    """An image is not as the caller has read it. Names both revisions; the actual one is 0 where the image is gone."""

    reason = "REVISION_MISMATCH"

    def __init__(self, field: str, image_id: str, expected: int, actual: int) -> None:
        now = f"has revision {actual} now" if actual else "is not there any more"
        super().__init__(
            f"{field}: image {image_id!r} {now}, revision {expected} was expected; read it again",
            field=field,
            metadata={"id": image_id, "expected": str(expected), "actual": str(actual)},
        )


class Unauthenticated(LookalikeError):
    """The service asks who calls, and the call did not say, or not in a way that the service accepts."""

    reason = "UNAUTHENTICATED"


class PermissionDenied(LookalikeError):
    """The service knows who calls, and does not let them do it."""

    reason = "PERMISSION_DENIED"


class Overloaded(LookalikeError):
    """Refused before any work was done. `retry_after_s` is the time after which to try again, in seconds."""

    reason = "OVERLOADED"

    def __init__(self, message: str, *, retry_after_s: float = 1.0) -> None:
        super().__init__(message, retry_after_s=retry_after_s)


class Unavailable(LookalikeError):
    """`dependency` (milvus, redis, embedder, ...) did not answer; trying again is safe."""

    reason = "DEPENDENCY_UNAVAILABLE"

    def __init__(self, dependency: str, problem: str, *, reason: str | None = None, retry_after_s: float = 1.0) -> None:
        super().__init__(
            f"{dependency} is unavailable: {problem}",
            reason=reason,
            metadata={"dependency": dependency},
            retry_after_s=retry_after_s,
        )


class CallLost(Unavailable):
    """The connection broke while the call was under way: `dependency` may have died, perhaps of the content of the call."""


class DeadlineExceeded(LookalikeError):
    reason = "DEADLINE_EXCEEDED"


class Cancelled(LookalikeError):
    reason = "CANCELLED"


class LeaseLost(Cancelled):
    """The unit has gone to another worker, or its job has ended: nothing more may be written."""

    reason = "LEASE_LOST"


class Internal(LookalikeError):
    """A defect of the product. The message is safe to show; the cause is in the log, found by `metadata["incident"]`."""

    reason = "INTERNAL"
