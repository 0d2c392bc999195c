"""Protobuf to domain and back: what each optional field means when it is absent, and what must survive the way."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lookalike.errors import FailedPrecondition, Internal, InvalidArgument
from lookalike.metadata import UNKNOWN_VALUE, check_metadata
from lookalike.records.job_state import JobState
from lookalike.records.search import ByImage, ByStoredImage, ByVectors
from lookalike.spaces import HistogramSettings, Metric, Space, UnknownKind
from lookalike.stored_spaces import to_json
from lookalike.tuning import distances
from lookalike.v1 import embedder_service_pb2 as embedder_pb
from lookalike.v1 import image_pb2
from lookalike.v1 import ingest_service_pb2 as ingest_pb
from lookalike.v1 import search_service_pb2 as search_pb
from lookalike.wire.collections import collection_message
from lookalike.wire.embedder import described_from
from lookalike.wire.images import given_images_from, image_message
from lookalike.wire.jobs import job_message, upload_item_from
from lookalike.wire.search import query_from
from lookalike.wire.spaces import space_from, space_message
from lookalike.wire.values import histogram_from, metadata_from, metadata_message
from tests.messages import made
from tests.unit.gateway.fakes import COLLECTION, MOMENT, SPACES, image, job
from tests.unit.lookalike.wire.record_values import alike


@pytest.mark.parametrize(
    "stamp", [{"seconds": 10**15}, {"seconds": -(10**15)}, {"nanos": 10**9}, {"nanos": -1}, {"seconds": 2**63 - 1}]
)
def test_a_time_that_no_calendar_has_is_refused_by_its_field(stamp: dict[str, Any]) -> None:
    request = made(search_pb.ImportImagesRequest, images=[{"id": "a"}, {"id": "b", "index_time": stamp}])
    with pytest.raises(InvalidArgument) as raised:
        given_images_from(request)
    assert raised.value.field == "images[1].index_time"


def test_each_kind_of_query_is_distinguished_even_when_empty() -> None:
    assert query_from(search_pb.Query(image=b"")) == ByImage(b"")
    assert query_from(search_pb.Query(image_id="")) == ByStoredImage("")
    assert query_from(search_pb.Query(vectors=search_pb.QueryVectors())) == ByVectors(())
    with pytest.raises(InvalidArgument) as raised:
        query_from(search_pb.Query())
    assert raised.value.field == "query"


def test_vectors_arrive_as_float32_with_their_fingerprint() -> None:
    given_ = image_pb2.SpaceVector(space="siamese", values=[0.5, -1.0], fingerprint="ab")
    query = query_from(search_pb.Query(vectors=search_pb.QueryVectors(spaces=[given_])))
    assert isinstance(query, ByVectors)
    (vector,) = query.vectors
    assert (vector.space, vector.fingerprint) == ("siamese", "ab")
    assert vector.values.dtype == np.float32
    assert vector.values.tolist() == [0.5, -1.0]


def test_noughts_in_histogram_settings_are_the_defaults() -> None:
    assert histogram_from(image_pb2.HistogramSettings()) == HistogramSettings(bins=256, grid=1, color=False)


@pytest.mark.parametrize("space", SPACES)
def test_a_space_survives_the_way_there_and_back(space: Space) -> None:
    assert space_from(space_message(space)) == space


def test_a_metric_of_a_later_version_is_unknown_and_embedders_may_not_give_it() -> None:
    message = space_message(SPACES[1])
    message.metric = 99  # type: ignore[assignment]
    metric = space_from(message).metric
    assert (metric.name, metric.value, metric in list(Metric)) == ("UNKNOWN", "unknown (99)", False)
    with pytest.raises(FailedPrecondition, match=r"unknown \(99\)"):
        distances(metric, np.ones((1, 2)), np.ones((1, 2)))
    with pytest.raises(Internal, match="has a metric or kind that this version of lookalike does not know"):
        described_from(embedder_pb.DescribeSpacesResponse(spaces=[message]))


def test_a_kind_of_a_later_version_is_unknown_and_embedders_may_not_give_it() -> None:
    message = space_message(SPACES[1])
    message.ClearField("model")
    found = space_from(message)
    assert found == replace(SPACES[1], kind=UnknownKind())
    assert "model" not in to_json(found)
    with pytest.raises(FailedPrecondition, match="is of a kind that"):
        _ = found.spec
    with pytest.raises(Internal, match="has a metric or kind that this version of lookalike does not know"):
        described_from(embedder_pb.DescribeSpacesResponse(spaces=[message]))


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), _JSON, max_size=4))
def test_metadata_survives_the_way_there_and_back(metadata: dict[str, object]) -> None:
    sent = image_pb2.Metadata.FromString(metadata_message(metadata).SerializeToString())
    assert alike(metadata_from(sent), metadata)


def test_metadata_comes_in_order_of_its_keys_at_any_depth() -> None:
    message = metadata_message({"b": {"d": 1, "c": [{"f": 1, "e": 2}]}, "a": (1, 2)})
    assert json.dumps(metadata_from(message)) == '{"a": [1, 2], "b": {"c": [{"e": 2, "f": 1}], "d": 1}}'


WITH_A_STRUCT = bytes.fromhex(
    "0a0161225d0a0f0a056c6162656c12061a04436f61740a1e0a0473697a6512162a140a120a057769647468120911000000000000f83f"
    "0a170a0474616773120f320d0a031a01610a0208000a0220010a110a047965617212091100000000008c9f40"
)
"""An `UploadItem` as version 0.1 wrote it, whose metadata was a `google.protobuf.Struct`."""


def test_what_a_client_with_a_struct_wrote_is_read() -> None:
    item = upload_item_from(ingest_pb.UploadItem.FromString(WITH_A_STRUCT))
    expected = {"label": "Coat", "size": {"width": 1.5}, "tags": ["a", None, True], "year": 2019.0}
    assert (item.id, alike(dict(item.metadata), expected)) == ("a", True)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_none_is_left_to_the_check_of_metadata(number: float) -> None:
    with pytest.raises(InvalidArgument, match=r"^metadata\.list\[0\]\.deep: -?(NaN|Infinity) is not"):
        check_metadata(metadata_from(metadata_message({"list": [{"deep": number}]})))


def test_a_value_without_a_kind_is_kept_as_unknown_and_refused_by_its_path() -> None:
    unset, null = image_pb2.MetadataValue(), image_pb2.MetadataValue(null_value=0)  # type: ignore[arg-type]  # its only member
    inner = image_pb2.MetadataValue(list_value=image_pb2.MetadataList(values=[null, unset]))
    item = upload_item_from(ingest_pb.UploadItem(id="a", metadata=image_pb2.Metadata(fields={"list": inner})))
    assert item.metadata == {"list": [None, UNKNOWN_VALUE]}
    with pytest.raises(InvalidArgument, match=r"^metadata\.list\[1\]: has no kind that is known; text, .* are allowed$"):
        check_metadata(item.metadata)


def test_an_image_carries_only_the_vectors_asked_for() -> None:
    stored = image("a", {"histogram": [0.5] * 8, "siamese": [1.0] * 4}, metadata={"label": "Coat"}, uri="file:///a")
    bare, full = image_message(stored, ()), image_message(stored, SPACES)
    assert not bare.vectors
    assert [(vector.space, vector.fingerprint, len(vector.values)) for vector in full.vectors] == [
        ("histogram", SPACES[0].fingerprint, 8),
        ("siamese", SPACES[1].fingerprint, 4),
    ]
    assert (metadata_from(full.metadata), full.index_time.ToDatetime(MOMENT.tzinfo)) == ({"label": "Coat"}, MOMENT)


def test_a_collection_is_written_whole() -> None:
    message = collection_message(replace(COLLECTION, image_count=12))
    assert (message.name, message.image_count, message.generation) == ("things", 12, 1)
    assert [space.WhichOneof("kind") for space in message.spaces] == ["histogram", "model"]
    assert message.create_time.ToDatetime(MOMENT.tzinfo) == MOMENT


@pytest.mark.parametrize("state", list(JobState))
def test_every_state_of_a_job_has_its_word_in_the_contract(state: JobState) -> None:
    message = job_message(job(state))
    assert ingest_pb.IngestJobState.Name(message.state) == f"INGEST_JOB_STATE_{state.name}"
    assert message.HasField("end_time") == state.ended
    assert not message.HasField("error")


def test_a_job_that_failed_says_why() -> None:
    message = job_message(job(JobState.FAILED, error="no column uri", error_reason="MANIFEST_INVALID"))
    assert message.error.message == "no column uri"
