"""`SearchOptions` <-> the contract's `SearchRequest` and `SearchBatchRequest`, which have the same fields for it.

Called by the gateway's edges and by `lookalike.client`.
"""

from __future__ import annotations

from lookalike.errors import InvalidArgument
from lookalike.records.image import Consistency
from lookalike.records.search_options import DEFAULT_TOP_K, SearchOptions
from lookalike.v1 import search_service_pb2 as pb

_CONSISTENCY = {Consistency.BOUNDED: pb.CONSISTENCY_BOUNDED, Consistency.STRONG: pb.CONSISTENCY_STRONG}
_CONSISTENCY_BACK = {
    pb.CONSISTENCY_UNSPECIFIED: Consistency.BOUNDED,
    pb.CONSISTENCY_BOUNDED: Consistency.BOUNDED,
    pb.CONSISTENCY_STRONG: Consistency.STRONG,
}


def options_from(request: pb.SearchRequest | pb.SearchBatchRequest) -> SearchOptions:
    """Raises `InvalidArgument` for a consistency that the contract does not know."""
    return SearchOptions(
        spaces=tuple(request.spaces),
        top_k=request.top_k if request.HasField("top_k") else DEFAULT_TOP_K,
        filter=request.filter,
        include_vectors=request.include_vectors,
        include_query_vectors=request.include_query_vectors,
        consistency=consistency_from(request.consistency),
        weights=dict(request.weights),
        ef=request.ef,
    )


def set_options(request: pb.SearchRequest | pb.SearchBatchRequest, options: SearchOptions) -> None:
    """Write `options` to a request that has none yet."""
    request.spaces.extend(options.spaces)
    if options.top_k != DEFAULT_TOP_K:  # Absent means that; 0 would be refused.
        request.top_k = options.top_k
    request.filter = options.filter
    request.include_vectors = options.include_vectors
    request.include_query_vectors = options.include_query_vectors
    request.consistency = consistency_number(options.consistency)
    request.weights.update(options.weights)
    request.ef = options.ef


def consistency_from(number: int) -> Consistency:
    """Raises `InvalidArgument` for a number that the contract does not know."""
    try:
        return _CONSISTENCY_BACK[pb.Consistency.ValueType(number)]
    except KeyError:
        problem = f"{number} is unknown; CONSISTENCY_BOUNDED and CONSISTENCY_STRONG are allowed"
        raise InvalidArgument("consistency", problem) from None


def consistency_number(consistency: Consistency) -> pb.Consistency.ValueType:
    return _CONSISTENCY[consistency]
