"""The contract's `SearchOptions` <-> the record, and what reads have in common with searches: consistency and view.

Called by the gateway's edges and by `lookalike.client`.
"""

from __future__ import annotations

from lookalike.records.image import Consistency, ImageView
from lookalike.records.search_options import SearchOptions
from lookalike.v1 import search_service_pb2 as pb
from lookalike.wire.fields import asked_of, member_from, message_of, numbers_of

_CONSISTENCY = numbers_of(Consistency, pb.Consistency.DESCRIPTOR)
_VIEW = numbers_of(ImageView, pb.ImageView.DESCRIPTOR)


def options_from(message: pb.SearchOptions) -> SearchOptions:
    """Raises `InvalidArgument`, such as `options.view`, for a number that the contract does not know."""
    return asked_of(SearchOptions, message, "options")


def options_message(options: SearchOptions) -> pb.SearchOptions:
    return message_of(pb.SearchOptions, options)


def consistency_from(number: int) -> Consistency:
    """Raises `InvalidArgument` (`consistency`) for a number that the contract does not know."""
    return member_from(Consistency, pb.Consistency.DESCRIPTOR, number, "consistency") or Consistency.BOUNDED


def consistency_number(consistency: Consistency) -> pb.Consistency.ValueType:
    number: pb.Consistency.ValueType = _CONSISTENCY[consistency]
    return number


def view_from(number: int) -> ImageView:
    """Raises `InvalidArgument` (`view`) for a number that the contract does not know."""
    return member_from(ImageView, pb.ImageView.DESCRIPTOR, number, "view") or ImageView.BASIC


def view_number(view: ImageView) -> pb.ImageView.ValueType:
    number: pb.ImageView.ValueType = _VIEW[view]
    return number
