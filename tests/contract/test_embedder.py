"""What `EmbedderService` promises its callers, over a real gRPC connection."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status
from PIL import Image

from embedder.serving.admission import Limits
from lookalike.errors import BadImage, FingerprintMismatch, InvalidArgument, LookalikeError, NotFound, Overloaded, Unavailable
from lookalike.runtime.channels import open_channel
from lookalike.spaces import HistogramSettings
from lookalike.v1 import embedder_service_pb2 as messages
from lookalike.v1 import embedder_service_pb2_grpc as rpc
from lookalike.v1 import image_pb2
from lookalike.wire.embedder import embed_timing_from
from lookalike.wire.status import from_rpc_error, from_status
from tests import recorded
from tests.messages import asked_spaces, made
from tests.pictures.hostile_pictures import gif_of_one_colour, tiff_tiled
from tests.pictures.made_pictures import bomb, corners, encoded, noise
from tests.servers.embedder import models, serving

TIMEOUT_S = 30.0


@pytest.fixture(scope="module")
def target() -> Iterator[str]:
    with serving() as target:
        yield target


@pytest.fixture(scope="module")
def stub(target: str) -> Iterator[rpc.EmbedderServiceStub]:
    with open_channel(target) as channel:
        yield rpc.EmbedderServiceStub(channel)


def embed(
    stub: rpc.EmbedderServiceStub,
    *images: bytes,
    spaces: Sequence[messages.EmbedSpace] = (),
    lane: messages.Lane.ValueType = messages.LANE_INTERACTIVE,
) -> messages.EmbedResponse:
    return stub.Embed(messages.EmbedRequest(images=images, spaces=spaces, lane=lane), timeout=TIMEOUT_S)


def vector(result: messages.EmbedResult, index: int) -> np.ndarray:
    assert not result.HasField("error"), result.error.message
    return np.frombuffer(result.vectors[index], "<f4")


def refused(call: Callable[[], object]) -> LookalikeError:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return from_rpc_error(caught.value, "embedder")


def test_both_spaces_come_by_default_with_their_fingerprints(stub: rpc.EmbedderServiceStub) -> None:
    pixels = noise(16, 16)
    response = embed(stub, encoded(pixels))
    small = models()[0]
    assert [(space.name, space.dimension, space.metric, space.fingerprint) for space in response.spaces] == [
        ("histogram", 256, image_pb2.METRIC_L2, HistogramSettings().space().fingerprint),
        ("siamese", 8, image_pb2.METRIC_COSINE, small.bundle.fingerprint),
    ]
    (result,) = response.results
    counts = np.bincount(pixels.ravel(), minlength=256).astype(np.float32) / np.float32(256)
    np.testing.assert_array_equal(vector(result, 0), counts)
    np.testing.assert_allclose(vector(result, 1), small.embed(pixels[None, ..., None])[0], atol=1e-5)


def test_an_answer_says_where_its_time_went(stub: rpc.EmbedderServiceStub) -> None:
    started_s = time.perf_counter()
    timing = embed(stub, *[encoded(noise(64, 64)) for _ in range(8)]).timing
    decode_s, compute_s = embed_timing_from(timing)
    assert decode_s > 0
    assert compute_s > 0
    assert decode_s + compute_s < time.perf_counter() - started_s


def test_spaces_come_in_the_order_asked_for(stub: rpc.EmbedderServiceStub) -> None:
    both = embed(stub, encoded(corners()), spaces=asked_spaces("siamese", "histogram"))
    assert [len(v) // 4 for v in both.results[0].vectors] == [8, 256]
    assert [space.name for space in both.spaces] == ["siamese", "histogram"]
    alone = embed(stub, encoded(corners()), spaces=asked_spaces("siamese"))
    np.testing.assert_allclose(vector(alone.results[0], 0), vector(both.results[0], 0), atol=1e-6)
    assert [space.name for space in alone.spaces] == ["siamese"]


def test_a_histogram_needs_no_model_and_counts_as_asked(stub: rpc.EmbedderServiceStub) -> None:
    response = embed(stub, encoded(corners()), spaces=asked_spaces("histogram", bins=8, grid=2, color=True))
    counts = vector(response.results[0], 0).reshape(4, 3, 8)
    assert response.spaces[0].fingerprint == HistogramSettings(8, 2, True).space().fingerprint
    # Red, green, blue, white quarters: each cell holds a quarter of all values, a third of that per channel, at one end.
    expected = [(7, 0, 0), (0, 7, 0), (0, 0, 7), (7, 7, 7)]
    assert [tuple(cell.argmax(axis=1).tolist()) for cell in counts] == expected
    np.testing.assert_allclose(counts.max(axis=2), 1 / 12, atol=1e-6)


def test_requests_name_their_model(stub: rpc.EmbedderServiceStub) -> None:
    response = embed(stub, encoded(noise(20, 20, 3)), spaces=asked_spaces("siamese", model="colour"))
    assert response.spaces[0].fingerprint == models()[1].bundle.fingerprint
    np.testing.assert_allclose(vector(response.results[0], 0), models()[1].embed(noise(20, 20, 3)[None])[0], atol=1e-5)


def test_a_request_may_name_the_version_and_never_gets_another(stub: rpc.EmbedderServiceStub) -> None:
    fingerprint = models()[0].bundle.fingerprint
    named = embed(stub, encoded(noise(16, 16)), spaces=asked_spaces("siamese", model="small", fingerprint=fingerprint))
    assert named.spaces[0].fingerprint == fingerprint
    for space, actual in (("siamese", fingerprint), ("histogram", HistogramSettings().space().fingerprint)):
        (asked,) = asked_spaces(space, model="small")
        asked.fingerprint = "0123456789abcdef"
        error = refused(lambda asked=asked: embed(stub, encoded(noise(16, 16)), spaces=[asked]))  # type: ignore[misc]
        assert isinstance(error, FingerprintMismatch)
        assert error.metadata == {"space": space, "expected": "0123456789abcdef", "actual": actual}


def test_a_request_may_have_spaces_of_several_kinds_models_and_settings(stub: rpc.EmbedderServiceStub) -> None:
    pixels = noise(30, 20, 3)
    asked = [
        *asked_spaces("photo", model="colour"),
        *asked_spaces("histogram", bins=16),
        *asked_spaces("fashion", "again", model="small"),
        made(messages.EmbedSpace, spec={"name": "tones", "histogram": {"bins": 16, "grid": 2, "color": True}}),
    ]
    response = embed(stub, encoded(pixels), b"no picture", encoded(pixels[::-1]), spaces=asked)
    assert [(space.name, space.dimension, space.model.name) for space in response.spaces] == [
        ("photo", 12, "colour"), ("histogram", 16, ""), ("fashion", 8, "small"), ("again", 8, "small"), ("tones", 192, ""),
    ]  # fmt: skip
    assert response.results[1].HasField("error")
    for result, picture in ((response.results[0], pixels), (response.results[2], pixels[::-1])):
        for place, one in enumerate(asked):
            alone = embed(stub, encoded(picture), spaces=[one])
            np.testing.assert_allclose(vector(result, place), vector(alone.results[0], 0), atol=1e-6)
    np.testing.assert_array_equal(vector(response.results[0], 2), vector(response.results[0], 3))


def test_a_bad_picture_fails_alone(stub: rpc.EmbedderServiceStub) -> None:
    good = encoded(noise(16, 16))
    response = embed(stub, good, b"", good[:60], bomb(), b"GIF? no", good)
    reasons = []
    for result in response.results[1:5]:
        error = from_status(result.error)
        assert isinstance(error, BadImage)
        assert error.field == "image"
        assert not result.vectors
        reasons.append(error.reason)
    assert reasons == ["IMAGE_EMPTY", "IMAGE_UNREADABLE", "IMAGE_TOO_MANY_PIXELS", "IMAGE_FORMAT_UNKNOWN"]
    np.testing.assert_array_equal(vector(response.results[0], 0), vector(response.results[5], 0))


def test_risky_kinds_give_the_same_vectors_and_thumbnails_as_safe_ones(stub: rpc.EmbedderServiceStub) -> None:
    """Those are decoded in processes of their own; bombs among them fail alone."""
    picture = Image.fromarray(noise(40, 40, 3)).quantize(16).convert("RGB")
    kinds = ("PNG", "GIF", "BMP", "TIFF")
    response = embed(
        stub, *(encoded(picture, kind) for kind in kinds), tiff_tiled((46_320, 46_320)), gif_of_one_colour(40_000, 40_000)
    )
    for result in response.results[1:4]:
        np.testing.assert_array_equal(vector(result, 0), vector(response.results[0], 0))
        # Another batch, another last digit.
        np.testing.assert_allclose(vector(result, 1), vector(response.results[0], 1), rtol=0, atol=1e-6)
    assert {from_status(result.error).reason for result in response.results[4:]} == {"IMAGE_TOO_MANY_PIXELS"}
    jpegs = {
        stub.MakeThumbnail(messages.MakeThumbnailRequest(image=encoded(picture, kind)), timeout=TIMEOUT_S).jpeg
        for kind in kinds
    }
    assert len(jpegs) == 1


def test_an_oversize_picture_fails_alone_too(stub: rpc.EmbedderServiceStub) -> None:
    (result,) = embed(stub, bytes(20_000_001)).results
    assert from_status(result.error).reason == "IMAGE_TOO_LARGE"


@pytest.mark.parametrize(
    ("fields", "expected", "field"),
    [
        ({"images": []}, InvalidArgument, "images"),
        ({"images": [b"x"] * 33}, InvalidArgument, "images"),
        ({"images": [bytes(9_000_000)] * 2}, InvalidArgument, "images"),
        ({"spaces": [{}]}, InvalidArgument, "spaces[0].spec.kind"),
        ({"spaces": [{"spec": {"model": {}}}]}, InvalidArgument, "spaces[0].spec.name"),
        ({"spaces": asked_spaces("A space")}, InvalidArgument, "spaces[0].spec.name"),
        ({"spaces": asked_spaces("siamese", "siamese")}, InvalidArgument, "spaces[1].spec.name"),
        ({"spaces": asked_spaces(*(f"a{number}" for number in range(9)))}, InvalidArgument, "spaces"),
        ({"spaces": asked_spaces(model="none_such")}, NotFound, "spaces[1].spec.model.name"),
        ({"spaces": asked_spaces(model="No name")}, InvalidArgument, "spaces[1].spec.model.name"),
        ({"lane": 9}, InvalidArgument, "lane"),
        ({"spaces": asked_spaces(bins=7)}, InvalidArgument, "spaces[0].spec.histogram.bins"),
        ({"spaces": asked_spaces(grid=9)}, InvalidArgument, "spaces[0].spec.histogram.grid"),
        ({"spaces": asked_spaces(grid=8, color=True)}, InvalidArgument, "spaces[0].spec.histogram"),
    ],
)
def test_a_wrong_request_is_refused_naming_the_field(
    stub: rpc.EmbedderServiceStub, fields: dict[str, object], expected: type[LookalikeError], field: str
) -> None:
    request = made(messages.EmbedRequest, **{"images": [encoded(noise(4, 4))], **fields})
    error = refused(lambda: stub.Embed(request, timeout=TIMEOUT_S))
    assert type(error) is expected
    assert error.field == field


def test_describing_spaces_fills_in_defaults(stub: rpc.EmbedderServiceStub) -> None:
    response = stub.DescribeSpaces(messages.DescribeSpacesRequest(), timeout=TIMEOUT_S)
    counts, features = response.spaces
    assert (counts.histogram.bins, counts.histogram.grid, counts.histogram.color) == (256, 1, False)
    assert (features.name, features.model.name) == ("siamese", "small")
    assert list(response.spaces) == list(embed(stub, encoded(corners())).spaces)
    asked = [{"name": "photo", "model": {"name": "colour"}}, {"name": "fashion", "model": {"name": "small"}}]
    others = stub.DescribeSpaces(made(messages.DescribeSpacesRequest, spaces=asked), timeout=TIMEOUT_S).spaces
    assert [(space.name, space.dimension) for space in others] == [("photo", 12), ("fashion", 8)]
    unknown = made(messages.DescribeSpacesRequest, spaces=[asked[0], {"name": "x", "model": {"name": "x"}}])
    error = refused(lambda: stub.DescribeSpaces(unknown, timeout=TIMEOUT_S))
    assert (error.reason, error.field) == ("MODEL_NOT_FOUND", "spaces[1].model.name")


def test_models_are_listed_default_first_with_device_and_engine(stub: rpc.EmbedderServiceStub) -> None:
    response = stub.ListModels(messages.ListModelsRequest(), timeout=TIMEOUT_S)
    assert (response.device, response.engine) == ("CPU", "tensorflow")
    assert [(model.name, model.current) for model in response.models] == [("small", True), ("colour", True)]
    small = response.models[0]
    assert (small.dimension, small.input_size, small.channels) == (8, 16, 1)
    assert (dict(small.metrics), small.licence) == ({"p_at_1": 0.25}, "Apache-2.0")
    assert small.provenance.fields["data"].string_value == "none"


def test_thumbnails(stub: rpc.EmbedderServiceStub) -> None:
    data = encoded(corners(400, 240))
    for asked, size in ((0, (160, 96)), (16, (16, 10)), (512, (400, 240))):
        request = messages.MakeThumbnailRequest(image=data, max_side=asked)
        made = Image.open(io.BytesIO(stub.MakeThumbnail(request, timeout=TIMEOUT_S).jpeg))
        assert (made.format, made.mode, made.size) == ("JPEG", "RGB", size)
    for request, field in (
        (messages.MakeThumbnailRequest(image=data, max_side=15), "max_side"),
        (messages.MakeThumbnailRequest(image=data, max_side=-1), "max_side"),
        (messages.MakeThumbnailRequest(image=data[:99]), "image"),
    ):
        error = refused(lambda request=request: stub.MakeThumbnail(request, timeout=TIMEOUT_S))  # type: ignore[misc]
        assert isinstance(error, InvalidArgument)
        assert error.field == field


def test_many_callers_at_once_each_get_their_own(stub: rpc.EmbedderServiceStub) -> None:
    pictures = [noise(16, 16, seed=n) for n in range(64)]
    expected = models()[0].embed(np.stack(pictures)[..., None]).numpy()

    def ask(n: int) -> bool:
        lane = messages.LANE_BULK if n % 3 == 0 else messages.LANE_INTERACTIVE
        results = embed(stub, encoded(pictures[n]), b"broken", encoded(pictures[n - 1]), lane=lane).results
        return (
            results[1].HasField("error")
            and np.allclose(vector(results[0], 1), expected[n], atol=1e-5)
            and np.allclose(vector(results[2], 1), expected[n - 1], atol=1e-5)
        )

    with ThreadPoolExecutor(64) as callers:
        assert all(callers.map(ask, range(64)))


def test_overload_is_refused_with_a_time_to_retry() -> None:
    with serving(Limits(queue_items=1)) as target, open_channel(target) as channel:
        stub = rpc.EmbedderServiceStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            embed(stub, encoded(corners()), encoded(corners()))
        assert isinstance(from_rpc_error(caught.value, "embedder"), Overloaded)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        details = rpc_status.from_call(caught.value).details
        assert any(detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR) for detail in details)
        assert len(embed(stub, encoded(corners())).results) == 1


def test_before_it_is_warm_it_describes_but_does_not_embed() -> None:
    with serving(warm=False) as target, open_channel(target) as channel:
        stub = rpc.EmbedderServiceStub(channel)
        assert isinstance(refused(lambda: embed(stub, encoded(corners()))), Unavailable)
        assert stub.DescribeSpaces(messages.DescribeSpacesRequest(), timeout=TIMEOUT_S).spaces[1].model.name == "small"
        health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S)
        assert health.status == health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.mark.parametrize("later", [False, True], ids=["released", "later"])
def test_requests_of_the_last_release_and_of_a_later_one_get_the_answers_that_they_got(target: str, later: bool) -> None:
    fingerprint = models()[0].bundle.fingerprint
    with open_channel(target) as channel:
        for then in recorded.read_exchanges(fingerprint):
            request = recorded.of_later(f"{then.method}Request", then.request) if later else then.request
            now = recorded.exchanged(channel, then.caller, then.method, request)
            assert now.code == then.code, now.text
            if then.code:
                assert reason_and_facts(now.details) == reason_and_facts(then.details)
                continue
            # Read as the caller of that release reads them.
            answer, before = (recorded.released(f"{then.method}Response", one.answer) for one in (now, then))
            if then.method == "MakeThumbnail":
                assert Image.open(io.BytesIO(answer.jpeg)).size == Image.open(io.BytesIO(before.jpeg)).size
                continue
            assert list(answer.spaces) == list(before.spaces)
            if then.method == "Embed":
                assert answer.HasField("timing")
                for result, wanted in zip(answer.results, before.results, strict=True):
                    assert result.HasField("error") == wanted.HasField("error")
                    assert reason_and_facts(result.error.SerializeToString()) == reason_and_facts(
                        wanted.error.SerializeToString()
                    )
                    for made, there in zip(result.vectors, wanted.vectors, strict=True):
                        np.testing.assert_allclose(np.frombuffer(made, "<f4"), np.frombuffer(there, "<f4"), atol=1e-5)


def reason_and_facts(status: bytes) -> tuple[str, str | None, dict[str, str]]:
    """What a program reads of a refusal."""
    error = from_status(status_pb2.Status.FromString(status))
    return error.reason, error.field, dict(error.metadata)
