"""Metadata <-> `Struct`, moments <-> `Timestamp`, spans <-> `Duration`. The other modules of `wire` call it, and HTTP for its
JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from google.protobuf import struct_pb2
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from lookalike.errors import InvalidArgument
from lookalike.spans import MAX_SPAN

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def plain(value: object) -> object:
    """`value` with whole floats as ints, as they were before a `Struct` held them, and with keys in order, at any depth."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, Mapping):
        return {name: plain(inner) for name, inner in sorted(value.items())}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(inner) for inner in value]
    return value


def metadata_from(struct: struct_pb2.Struct) -> dict[str, object]:
    """A `Struct` as plain Python values, with keys in order. `json_format` is not used, since it raises for NaN and infinity:
    `items.check_metadata` refuses these, for the one item that holds them."""
    return {name: plain(_value_from(value)) for name, value in sorted(struct.fields.items())}


def metadata_message(metadata: Mapping[str, object]) -> struct_pb2.Struct:
    """Metadata that passes `items.check_metadata`, as a `Struct`. Whole numbers beyond 2**53 lose their last digits."""
    struct = struct_pb2.Struct()
    if metadata:
        struct.update(dict(metadata))  # type: ignore[arg-type]  # JSON, as was checked
    return struct


def _value_from(value: struct_pb2.Value) -> object:
    match value.WhichOneof("kind"):
        case "struct_value":
            return {name: _value_from(inner) for name, inner in value.struct_value.fields.items()}
        case "list_value":
            return [_value_from(inner) for inner in value.list_value.values]
        case "number_value":
            return value.number_value
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case _:
            return None


def moment_message(moment: datetime) -> Timestamp:
    """`moment`, which has a time zone and lies in the years 1 to 9999 of UTC."""
    since = moment - _EPOCH  # Several times as fast as `FromDatetime`; every hit of a search has a moment.
    return Timestamp(seconds=86400 * since.days + since.seconds, nanos=1000 * since.microseconds)


def moment_from(stamp: Timestamp, field: str) -> datetime:
    """The moment in UTC. Raises `InvalidArgument` for a time that no calendar has, or nanoseconds out of range."""
    try:
        return stamp.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidArgument(field, "is not a time between the years 1 and 9999") from error


def span_message(span: timedelta) -> Duration:
    """`span`, which is `MAX_SPAN` at most, forwards or backwards."""
    message = Duration()
    message.FromTimedelta(span)
    return message


def span_from(message: Duration, field: str) -> timedelta:
    """The span, to the microsecond. Raises `InvalidArgument` for one beyond `MAX_SPAN`, or nanoseconds out of range."""
    most_s = MAX_SPAN // timedelta(seconds=1)
    if not (-most_s <= message.seconds <= most_s and abs(message.nanos) < 10**9 and message.seconds * message.nanos >= 0):
        raise InvalidArgument(field, f"is not a duration of at most {most_s:,} seconds with nanoseconds of the same sign")
    return timedelta(seconds=message.seconds, microseconds=int(message.nanos / 1000))
