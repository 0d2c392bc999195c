"""Every record survives the way to protobuf and back, and every field of the contract is mapped or named as left out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from lookalike.errors import NotFound
from lookalike.records.collection import Collection
from lookalike.records.image import Delete, Deletion, GivenImage, Image, ImageUpdate, UpdateResult
from lookalike.records.job import CreateJob, Failure, Job, JobFilter, Report, Undone
from lookalike.records.search import BatchAnswer, ByStoredImage, SearchRequest, SearchResult
from lookalike.records.source import SOURCES, Source, Upload, UploadItem
from lookalike.spaces import HistogramSettings, Metric, Space, SpaceSpec
from lookalike.v1 import collection_service_pb2, embedder_service_pb2, image_pb2, ingest_service_pb2, search_service_pb2
from lookalike.wire import collections, images, jobs, search, spaces
from tests.unit.lookalike.wire.record_values import alike, any_of, whole


@dataclass(frozen=True)
class Way:
    """A record with its way to protobuf and back."""

    record: type
    to: Callable[[Any], Message]
    back: Callable[[Any], Any]
    values: st.SearchStrategy[Any] | None = None

    def __str__(self) -> str:
        return self.record.__name__


WAYS = (
    Way(Job, jobs.job_message, jobs.job_from),
    Way(Report, jobs.report_message, jobs.report_from),
    Way(Failure, jobs.failure_message, jobs.failure_from),
    Way(
        CreateJob,
        jobs.create_job_message,
        jobs.create_job_from,
        st.builds(CreateJob, st.text(), any_of(Source), st.text(), any_of(Job).map(lambda job: job.options)),
    ),
    Way(JobFilter, jobs.job_filter_message, jobs.job_filter_from),
    Way(Collection, collections.collection_message, collections.collection_from),
    Way(SpaceSpec, spaces.spec_message, lambda message: spaces.specs_from([message])[0]),
    Way(Image, lambda image: images.image_message(image, _spaces(image.vectors)), images.image_from),
    Way(GivenImage, images.given_image_message, lambda message: images.given_image_from(message, "images[0]")),
    Way(ImageUpdate, images.update_message, images.update_from),
    Way(UpdateResult, images.update_result_message, images.update_result_from),
    Way(Deletion, images.deletion_message, images.deletion_from),
    Way(Delete, lambda asked: images.delete_message("things", asked), images.delete_from),
    Way(Undone, jobs.undone_message, jobs.undone_from),
    Way(SearchRequest, search.search_message, search.search_from),
    Way(SearchResult, search.search_result_message, search.search_result_from),
    Way(BatchAnswer, search.batch_answer_message, search.batch_answer_from),
    Way(UploadItem, jobs.upload_item_message, jobs.upload_item_from),
    Way(Upload, jobs.upload_message, jobs.upload_from),
)
FILES = (collection_service_pb2, embedder_service_pb2, image_pb2, ingest_service_pb2, search_service_pb2)
LEFT_OUT = frozenset({
    "UploadHeader", "ListIngestJobsRequest.collection", "ListIngestJobsRequest.page_size", "ListIngestJobsRequest.page_token",
    # The embedder answers with arrays of its own; what its clients make of that is tested with them.
    "EmbedResult", "EmbedSpace", "EmbedTiming", "Model",
})  # fmt: skip
"""Messages and fields of the contract that are no record's, besides requests and answers of which no field is: single values,
and records with a token."""


@pytest.mark.parametrize("way", WAYS, ids=str)
@settings(max_examples=20, deadline=None)
@given(st.data())
def test_a_record_survives_the_way_to_protobuf_and_back(way: Way, data: st.DataObject) -> None:
    record = data.draw(any_of(way.record) if way.values is None else way.values)
    message = way.to(record)
    read = way.back(type(message).FromString(message.SerializeToString()))
    assert alike(read, record), f"{read} is not {record}"


def test_every_field_of_the_contract_is_mapped_or_named_as_left_out() -> None:
    failed = search.batch_answer_message(BatchAnswer(0, error=NotFound("image", "a")))
    asked = search.batch_query_message(ByStoredImage("a"))
    messages = [failed, asked, *(way.to(whole(way.record, number)) for way in WAYS for number in range(len(SOURCES)))]
    set_ = {name for message in messages for name in _set_in(message)}
    left_out = LEFT_OUT | (_requests_and_answers() - {name.partition(".")[0] for name in set_})
    missing = {name for name in _contract() if not {name, name.partition(".")[0]} & (set_ | left_out)}
    assert not missing, f"neither mapped nor left out: {sorted(missing)}"
    named = {name for name in LEFT_OUT if "." in name}
    assert not named & set_, "named as left out, and mapped"


def _requests_and_answers() -> set[str]:
    services = (service for file in FILES for service in file.DESCRIPTOR.services_by_name.values())
    methods = (method for service in services for method in service.methods)
    return {message.name for method in methods for message in (method.input_type, method.output_type)}


def _spaces(names: Iterable[str]) -> list[Space]:
    return [Space(name, 2, Metric.L2, "0" * 16, HistogramSettings()) for name in names]


def _contract() -> Iterator[str]:
    """`Message.field` of every message in `FILES`."""
    for file in FILES:
        for descriptor in file.DESCRIPTOR.message_types_by_name.values():
            yield from (f"{descriptor.name}.{field.name}" for field in descriptor.fields)


def _set_in(message: Message) -> Iterator[str]:
    """`Message.field` of every field that is set in `message`, at any depth."""
    for field, value in message.ListFields():
        yield f"{message.DESCRIPTOR.name}.{field.name}"
        for inner in value.values() if _is_map(field) else value if field.is_repeated else (value,):
            if isinstance(inner, Message):
                yield from _set_in(inner)


def _is_map(field: FieldDescriptor) -> bool:
    kind: Descriptor | None = field.message_type
    return kind is not None and kind.GetOptions().map_entry
