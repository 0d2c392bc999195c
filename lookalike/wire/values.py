"""Values that are not copied field by field: metadata, moments and spans <-> `Metadata`, `Timestamp` and `Duration`, and
settings with defaults. The other modules of `wire` call it, and HTTP for its JSON."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from lookalike.errors import InvalidArgument
from lookalike.metadata import UNKNOWN_VALUE
from lookalike.spaces import HistogramSettings
from lookalike.spans import MAX_SPAN
from lookalike.v1 import image_pb2

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def metadata_from(message: image_pb2.Metadata) -> dict[str, object]:
    """Metadata as plain Python values, with keys in order, at any depth. An `integer_value` is an int. A `number_value` is a
    float, which may be NaN or infinite, and a value without a kind is `UNKNOWN_VALUE`: `check_metadata` refuses these, for the
    one item that holds them."""
    values = message.fields
    return {name: _value_from(values[name]) for name in sorted(values)}


def metadata_message(metadata: Mapping[str, object]) -> image_pb2.Metadata:
    """Metadata that passes `check_metadata`, as a message. An int is an `integer_value`, a float a `number_value`."""
    message = image_pb2.Metadata()
    fill_metadata(message, metadata)
    return message


def _value_from(value: image_pb2.MetadataValue) -> object:
    match value.WhichOneof("kind"):
        case None:
            return UNKNOWN_VALUE
        case "null_value":
            return None
        case "struct_value":
            return metadata_from(value.struct_value)
        case "list_value":
            return [_value_from(inner) for inner in value.list_value.values]
        case plain:
            return getattr(value, plain)


def fill_metadata(message: image_pb2.Metadata, metadata: Mapping[str, Any]) -> None:
    """Write metadata that passes `check_metadata` to an empty message. Values are made where they stand: protobuf copies a
    message that it is given."""
    values = message.fields
    for name, value in metadata.items():
        _set(values[name], value)


def _set(message: image_pb2.MetadataValue, value: Any) -> None:
    if isinstance(value, str):
        message.string_value = value
    elif isinstance(value, bool):  # before int, which it is too
        message.bool_value = value
    elif isinstance(value, int):
        message.integer_value = value
    elif isinstance(value, float):
        message.number_value = value
    elif value is None:
        message.null_value = 0  # type: ignore[assignment]  # its only member
    elif isinstance(value, Mapping):
        message.struct_value.SetInParent()
        fill_metadata(message.struct_value, value)
    else:
        message.list_value.SetInParent()
        add = message.list_value.values.add
        for inner in value:
            _set(add(), inner)


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


def histogram_from(message: image_pb2.HistogramSettings, path: str = "histogram") -> HistogramSettings:
    """Zeros mean the defaults. Raises `InvalidArgument` for values out of range; `path` is where the message stands."""
    default = HistogramSettings()
    try:
        return HistogramSettings(message.bins or default.bins, message.grid or default.grid, message.color)
    except InvalidArgument as error:
        raise InvalidArgument(f"{path}{(error.field or '').removeprefix('histogram')}", error.problem) from None
