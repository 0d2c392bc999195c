"""The one table between Lookalike's exceptions, gRPC and HTTP, in both directions.

On the wire an error is a `google.rpc.Status` with `ErrorInfo` (domain `lookalike`, the exception's reason and metadata), and
with `BadRequest` naming the field or `RetryInfo` where they apply (https://google.aip.dev/193). A client raises the class that
the service raised.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from lookalike import errors

DOMAIN = "lookalike"


@dataclass(frozen=True, slots=True)
class _Row:
    error: type[errors.LookalikeError]
    grpc: grpc.StatusCode
    http: int


# HTTP codes are those of google/rpc/code.proto, but for FAILED_PRECONDITION: its 400 would say that the request is wrong, where
# only the state of what it names is (RFC 9110, 15.5.10). A status without Lookalike's details becomes the first row of its gRPC
# code.
_TABLE = (
    _Row(errors.InvalidArgument, grpc.StatusCode.INVALID_ARGUMENT, 400),
    _Row(errors.NotFound, grpc.StatusCode.NOT_FOUND, 404),
    _Row(errors.AlreadyExists, grpc.StatusCode.ALREADY_EXISTS, 409),
    _Row(errors.FailedPrecondition, grpc.StatusCode.FAILED_PRECONDITION, 409),
    _Row(errors.Aborted, grpc.StatusCode.ABORTED, 409),
    _Row(errors.Unauthenticated, grpc.StatusCode.UNAUTHENTICATED, 401),
    _Row(errors.PermissionDenied, grpc.StatusCode.PERMISSION_DENIED, 403),
    _Row(errors.Overloaded, grpc.StatusCode.RESOURCE_EXHAUSTED, 429),
    _Row(errors.Unavailable, grpc.StatusCode.UNAVAILABLE, 503),
    _Row(errors.DeadlineExceeded, grpc.StatusCode.DEADLINE_EXCEEDED, 504),
    _Row(errors.Cancelled, grpc.StatusCode.CANCELLED, 499),
    _Row(errors.Internal, grpc.StatusCode.INTERNAL, 500),
)
_BY_REASON: dict[str, type[errors.LookalikeError]] = {
    errors.FingerprintMismatch.reason: errors.FingerprintMismatch,
    errors.BadFilter.reason: errors.BadFilter,
    errors.RevisionMismatch.reason: errors.RevisionMismatch,
}
_IMAGE_REASONS = "IMAGE_"
_NEVER_SENT = re.compile(
    "connections to all backends failing|failed to connect|resolv|resolution failed|address list", re.IGNORECASE
)
"""gRPC's words where there was no connection for the call. Its other words with UNAVAILABLE ("Socket closed", "Connection reset
by peer") mean a connection that broke with the call on it."""
_TOO_LARGE = "larger than max"
"""gRPC's words on either side: "Sent message larger than max (33554437 vs. 33554432)"."""


def grpc_code(error: errors.LookalikeError) -> grpc.StatusCode:
    return _row(error).grpc


def http_code(error: errors.LookalikeError) -> int:
    return _row(error).http


def to_status(error: errors.LookalikeError) -> status_pb2.Status:
    """`error` as it goes over the wire."""
    status = status_pb2.Status(code=grpc_code(error).value[0], message=error.message)
    details = [error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.metadata)]
    packed = [_packed(detail) for detail in details]
    if error.field is not None:
        problem = error.problem if isinstance(error, errors.InvalidArgument) else error.message
        violation = error_details_pb2.BadRequest.FieldViolation(field=error.field, description=problem, reason=error.reason)
        packed.append(_packed(error_details_pb2.BadRequest(field_violations=[violation])))
    if error.retry_after_s is not None:
        delay = duration_pb2.Duration()
        delay.FromNanoseconds(int(error.retry_after_s * 1e9))
        packed.append(_packed(error_details_pb2.RetryInfo(retry_delay=delay)))
    status.details.extend(packed)
    return status


def from_status(status: status_pb2.Status) -> errors.LookalikeError:
    """The exception from which `status` was made; for a foreign status, the exception of its code."""
    info, bad, retry = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
    for detail in status.details:
        for message in (info, bad, retry):
            if detail.Is(message.DESCRIPTOR):
                detail.Unpack(message)
    violation = bad.field_violations[0] if bad.field_violations else None
    error = errors.LookalikeError.__new__(_class_for(status.code, info.reason))
    errors.LookalikeError.__init__(
        error,
        status.message or code_pb2.Code.Name(code_pb2.Code.ValueType(status.code)),
        reason=info.reason or None,
        field=violation.field if violation else None,
        metadata=dict(info.metadata),
        retry_after_s=retry.retry_delay.ToNanoseconds() / 1e9 if retry.HasField("retry_delay") else None,
    )
    if isinstance(error, errors.InvalidArgument):
        error.problem = violation.description if violation else status.message
    return error


def from_rpc_error(error: grpc.RpcError, dependency: str) -> errors.LookalikeError:
    """The exception behind a failed call to `dependency` (embedder, gateway): the one that it raised, or `Unavailable` and the
    like where the call did not reach it.

    Errors of threaded and of asyncio channels both have `code()`, `details()` and `trailing_metadata()`.
    """
    call: Any = error
    if not hasattr(call, "code"):
        return errors.Unavailable(dependency, errors.one_line(error, 300))
    status = rpc_status.from_call(call)
    if status is not None:
        return from_status(status)
    code, details = call.code(), errors.one_line(call.details() or "", 300)
    # A draining server answers calls that it has not begun with a bare CANCELLED. For the caller it is unavailable.
    if code is grpc.StatusCode.CANCELLED or (code is grpc.StatusCode.UNAVAILABLE and _NEVER_SENT.search(details)):
        return errors.Unavailable(dependency, details)
    if code is grpc.StatusCode.UNAVAILABLE:
        return errors.CallLost(dependency, details)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return errors.DeadlineExceeded(f"{dependency} did not answer in time")
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        # gRPC has one code for messages that are too large and for overload. Only overload passes with time.
        if _TOO_LARGE in details:
            return errors.InvalidArgument("request", f"{dependency}: {details}", reason="MESSAGE_TOO_LARGE")
        return errors.Overloaded(f"{dependency}: {details}")
    return from_status(status_pb2.Status(code=code.value[0], message=f"{dependency}: {details}"))


def _row(error: errors.LookalikeError) -> _Row:
    return next((row for row in _TABLE if isinstance(error, row.error)), _TABLE[-1])


def _class_for(code: int, reason: str) -> type[errors.LookalikeError]:
    if reason in _BY_REASON:
        return _BY_REASON[reason]
    if reason.startswith(_IMAGE_REASONS) and code == code_pb2.INVALID_ARGUMENT:
        return errors.BadImage
    return next((row.error for row in _TABLE if row.grpc.value[0] == code), errors.Internal)


def _packed(message: error_details_pb2.ErrorInfo | error_details_pb2.BadRequest | error_details_pb2.RetryInfo) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed
