"""`SearchOptions` <-> the contract's `SearchRequest` and `SearchBatchRequest`, which have the same fields for it.

Called by the gateway's edges and by `lookalike.client`.
"""

from __future__ import annotations

from typing import TypeVar

from lookalike.errors import InvalidArgument
from lookalike.records.image import Consistency
from lookalike.records.search_options import DEFAULT_TOP_K, SearchOptions
from lookalike.v1 import search_service_pb2 as pb
from lookalike.wire.fields import members_of, message_of, numbers_of, record_of

Asked = TypeVar("Asked", pb.SearchRequest, pb.SearchBatchRequest)
_CONSISTENCY = numbers_of(Consistency, pb.Consistency.DESCRIPTOR)
_CONSISTENCY_BACK = members_of(Consistency, pb.Consistency.DESCRIPTOR) | {pb.CONSISTENCY_UNSPECIFIED: Consistency.BOUNDED}


def options_from(request: pb.SearchRequest | pb.SearchBatchRequest) -> SearchOptions:
    """Raises `InvalidArgument` for a consistency that the contract does not know."""
    top_k = request.top_k if request.HasField("top_k") else DEFAULT_TOP_K
    return record_of(SearchOptions, request, top_k=top_k, consistency=consistency_from(request.consistency))


def set_options(request: Asked, options: SearchOptions) -> None:
    """Write `options` to a request that has none yet."""
    # An absent `top_k` means the default. 0 would be refused.
    top_k = None if options.top_k == DEFAULT_TOP_K else options.top_k
    request.MergeFrom(message_of(type(request), options, top_k=top_k))


def consistency_from(number: int) -> Consistency:
    """Raises `InvalidArgument` for a number that the contract does not know."""
    try:
        return _CONSISTENCY_BACK[number]
    except KeyError:
        problem = f"{number} is unknown; CONSISTENCY_BOUNDED and CONSISTENCY_STRONG are allowed"
        raise InvalidArgument("consistency", problem) from None


def consistency_number(consistency: Consistency) -> pb.Consistency.ValueType:
    number: pb.Consistency.ValueType = _CONSISTENCY[consistency]
    return number
