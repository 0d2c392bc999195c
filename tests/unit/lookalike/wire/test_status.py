"""Errors cross the wire and come back as what they were."""

from __future__ import annotations

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from lookalike import errors
from lookalike.wire.status import from_status, grpc_code, http_code, to_status

CASES = [
    (errors.InvalidArgument("top_k", "is 0; 1 to 1000 are allowed"), grpc.StatusCode.INVALID_ARGUMENT, 400),
    (errors.BadImage("is empty", reason="IMAGE_EMPTY"), grpc.StatusCode.INVALID_ARGUMENT, 400),
    (errors.BadFilter("column 4: expected a value"), grpc.StatusCode.INVALID_ARGUMENT, 400),
    (errors.NotFound("ingest job", "j1"), grpc.StatusCode.NOT_FOUND, 404),
    (errors.AlreadyExists("collection", "shoes"), grpc.StatusCode.ALREADY_EXISTS, 409),
    (errors.RevisionMismatch("updates[0].expected_revision", "a", 4, 5), grpc.StatusCode.ABORTED, 409),
    (errors.FailedPrecondition("not now", reason="JOB_ENDED"), grpc.StatusCode.FAILED_PRECONDITION, 409),
    (errors.FingerprintMismatch("siamese", "aaaa", "bbbb"), grpc.StatusCode.FAILED_PRECONDITION, 409),
    (errors.Unauthenticated("no token", reason="TOKEN_MISSING"), grpc.StatusCode.UNAUTHENTICATED, 401),
    (errors.PermissionDenied("not yours", reason="RIGHT_MISSING"), grpc.StatusCode.PERMISSION_DENIED, 403),
    (errors.Overloaded("queue full", retry_after_s=0.25), grpc.StatusCode.RESOURCE_EXHAUSTED, 429),
    (errors.Unavailable("milvus", "connection refused"), grpc.StatusCode.UNAVAILABLE, 503),
    (errors.DeadlineExceeded("too late"), grpc.StatusCode.DEADLINE_EXCEEDED, 504),
    (errors.Cancelled("gone"), grpc.StatusCode.CANCELLED, 499),
    (errors.Internal("defect"), grpc.StatusCode.INTERNAL, 500),
]


@pytest.mark.parametrize(("error", "code", "http"), CASES, ids=lambda value: getattr(value, "reason", str(value)))
def test_every_error_crosses_the_wire_and_comes_back(error: errors.LookalikeError, code: grpc.StatusCode, http: int) -> None:
    assert (grpc_code(error), http_code(error)) == (code, http)
    back = from_status(status_pb2.Status.FromString(to_status(error).SerializeToString()))
    assert type(back) is type(error)
    assert (back.message, back.reason, back.field) == (error.message, error.reason, error.field)
    assert (back.metadata, back.retry_after_s) == (error.metadata, error.retry_after_s)
    assert getattr(back, "problem", None) == getattr(error, "problem", None)


def test_a_wrong_field_is_named_in_bad_request() -> None:
    details = to_status(errors.InvalidArgument("top_k", "is 0")).details
    bad = error_details_pb2.BadRequest()
    assert details[1].Unpack(bad)
    assert [(v.field, v.description) for v in bad.field_violations] == [("top_k", "is 0")]


def test_a_status_without_our_details_becomes_the_class_of_its_code() -> None:
    for code, kind in ((5, errors.NotFound), (7, errors.PermissionDenied), (16, errors.Unauthenticated)):
        back = from_status(status_pb2.Status(code=code, message="nope"))
        assert (type(back), str(back), back.reason) == (kind, "nope", kind.reason)
