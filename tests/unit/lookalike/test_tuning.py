"""The tuner against a gateway whose index misses in a way that a test knows, on a real gRPC server."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from lookalike.cli import exits
from lookalike.client import Client
from lookalike.errors import FailedPrecondition, InvalidArgument, LookalikeError, NotFound
from lookalike.spaces import Metric
from lookalike.tuning import BREADTHS, Step, distances, tune
from lookalike.v1 import collection_service_pb2, image_pb2, search_service_pb2
from lookalike.wire.spaces import space_message
from tests.unit.gateway.fakes import SPACES, random_images
from tests.unit.lookalike.cli.command import Lookalike, lookalike
from tests.unit.lookalike.fake_gateway import FakeGateway, an_image, served

__all__ = ["lookalike"]

COUNT, K = 60, 5
FULL, BASIC = search_service_pb2.IMAGE_VIEW_FULL, search_service_pb2.IMAGE_VIEW_BASIC
METRICS = {space.name: space.metric for space in SPACES}


class Approximate(FakeGateway):
    """An index over `images` that sees image `n` of `space` only in searches of `needs[space][n]` and broader."""

    needs: dict[str, list[int]]
    _matrices: dict[str, Any]
    _read: object = None

    def Search(self, request, context):  # type: ignore[no-untyped-def]
        self.note(request)
        (query,) = request.query.vectors.spaces
        apart = METRICS[query.space].distance(np.array(query.values, np.float32), self.matrix(query.space)).tolist()
        seen = zip(apart, self.images, self.needs[query.space], strict=True)
        found = [(distance, image) for distance, image, needed in seen if request.options.ef >= needed]
        answer = search_service_pb2.SearchResponse(ef=request.options.ef)
        # Equal images come by larger id first: other ones than an exact search in order of id would find.
        found.reverse()
        for _, image in sorted(found, key=lambda pair: round(pair[0], 6))[: request.options.top_k]:
            hit = answer.neighbours.add(image=image)
            if request.options.view != FULL:
                hit.image.ClearField("vectors")
        return answer

    def matrix(self, space: str) -> Any:
        """The vectors of all images, read from their messages once."""
        if self._read is not self.images:
            self._matrices, self._read = {}, self.images
        if space not in self._matrices:
            self._matrices[space] = np.stack([vector(image, space) for image in self.images])
        return self._matrices[space]


def vector(image: image_pb2.Image, space: str) -> Any:
    (found,) = [one for one in image.vectors if one.space == space]
    return np.array(found.values, np.float32)


def stored(count: int, same: int = 0) -> list[image_pb2.Image]:
    """`count` images, of which the first `same` are equal."""
    images = []
    sources = random_images(count)
    for number, one in enumerate(sources):
        image = an_image(one.id)
        for space in SPACES:
            values = sources[0 if number < same else number].vectors[space.name]
            image.vectors.add(space=space.name, values=values.tolist())
        images.append(image)
    return images


@pytest.fixture
def gateway() -> Iterator[Approximate]:
    fake = Approximate()
    fake.images = stored(COUNT)
    fake.needs = {space.name: [1] * COUNT for space in SPACES}
    spaces = [space_message(space) for space in SPACES]
    fake.collections["shoes"] = collection_service_pb2.Collection(name="shoes", spaces=spaces, image_count=COUNT)
    with served(fake):
        yield fake


@pytest.fixture
def client(gateway: Approximate) -> Iterator[Client]:
    with Client(gateway.target, timeout_s=30) as client:
        yield client


def recall_by_hand(gateway: Approximate, space: str, ef: int) -> float:
    """Each image looked for among all others, by distances worked out one by one."""
    right = 0
    vectors = [vector(image, space) for image in gateway.images]
    for place, query in enumerate(vectors):
        apart = METRICS[space].distance(query, np.stack(vectors)).tolist()
        others = sorted((distance, number) for number, distance in enumerate(apart) if number != place)
        seen = [number for _, number in others if gateway.needs[space][number] <= ef][:K]
        right += len(set(seen) & {number for _, number in others[:K]})
    return right / (K * len(vectors))


def test_the_smallest_breadth_that_finds_enough_is_chosen_for_each_space(gateway: Approximate, client: Client) -> None:
    gateway.needs["histogram"] = [(64, 24, 8, 8)[number % 4] for number in range(COUNT)]
    gateway.needs["siamese"] = [(12, 8, 8)[number % 3] for number in range(COUNT)]
    found = tune(client, "shoes", recall=0.99, k=K, queries=COUNT)
    assert (found.images, found.queries, found.k, found.recall) == (COUNT, COUNT, K, 0.99)
    assert {one.space: one.ef for one in found.spaces} == {"histogram": 64, "siamese": 12}
    for one in found.spaces:
        assert [step.ef for step in one.steps] == [ef for ef in BREADTHS if ef <= (one.ef or 0)]
        for step in one.steps:
            assert step.recall == pytest.approx(recall_by_hand(gateway, one.space, step.ef), abs=1e-9)
            assert step.median_s > 0
    reached = next(step.recall for step in found.spaces[0].steps if step.ef == 24)
    enough = tune(client, "shoes", recall=reached, k=K, queries=COUNT, spaces=["histogram"])
    assert [one.ef for one in enough.spaces] == [24], "exactly what was asked for is enough"


def test_equal_images_count_as_found_whichever_come_back(gateway: Approximate, client: Client) -> None:
    gateway.images = stored(COUNT, same=20)
    found = tune(client, "shoes", recall=1.0, k=K, queries=COUNT)
    assert [one.steps for one in found.spaces] == [
        (Step(BREADTHS[0], 1.0, one.steps[0].median_s),) for one in found.spaces
    ]  # fmt: skip


def test_when_even_the_broadest_search_misses_no_breadth_is_chosen(gateway: Approximate, client: Client) -> None:
    gateway.needs["siamese"] = [10**6 if number % 2 else 1 for number in range(COUNT)]
    (found,) = tune(client, "shoes", recall=0.9, k=K, queries=5, spaces=["siamese"]).spaces
    assert found.ef is None
    assert [step.ef for step in found.steps] == list(BREADTHS)
    assert found.steps[-1].recall < 0.9


def test_breadths_begin_above_the_neighbours_asked_for(gateway: Approximate, client: Client) -> None:
    (found,) = tune(client, "shoes", recall=0.9, k=50, queries=3, spaces=["siamese"]).spaces
    assert [step.ef for step in found.steps] == [64]
    searches = [request for request in gateway.seen if isinstance(request, search_service_pb2.SearchRequest)]
    assert {(request.options.top_k, request.options.ef) for request in searches} == {(51, 64)}
    assert [request.options.view for request in searches] == [FULL] * 3 + [BASIC] * 3, "the time is that of a plain search"


def asked(gateway: Approximate) -> list[str]:
    """Ids of the queries, in order."""
    ids = [request.id for request in gateway.seen if isinstance(request, search_service_pb2.GetImageRequest)]
    gateway.seen.clear()
    return ids


def test_queries_are_chosen_at_random_and_the_same_for_the_same_seed(gateway: Approximate, client: Client) -> None:
    gateway.images = stored(300)
    gateway.needs = {space.name: [1] * 300 for space in SPACES}
    chosen = []
    for seed in (0, 0, 1):
        tune(client, "shoes", recall=0.5, k=1, queries=50, seed=seed, spaces=["siamese"])
        chosen.append(asked(gateway))
    first, same, other = chosen
    assert first == same != other
    for ids in (first, other):
        assert len(set(ids)) == 50
        # About half of the last half: 25 give or take four standard deviations of 3.2.
        assert 12 <= sum(image_id >= "150" for image_id in ids) <= 38


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"recall": 0.0}, InvalidArgument),
        ({"recall": 1.1}, InvalidArgument),
        ({"k": 0}, InvalidArgument),
        ({"k": 1000}, InvalidArgument),
        ({"queries": 0}, InvalidArgument),
        ({"spaces": ["colour"]}, NotFound),
        ({"k": COUNT}, FailedPrecondition),
    ],
)
def test_what_cannot_be_tuned_is_refused(client: Client, options: dict[str, Any], error: type[LookalikeError]) -> None:
    with pytest.raises(error):
        tune(client, "shoes", **{"recall": 0.9, **options})


def test_a_collection_that_is_not_there_is_not_found(client: Client) -> None:
    with pytest.raises(NotFound):
        tune(client, "boots", recall=0.9)


@pytest.mark.parametrize("metric", list(Metric))
def test_exact_distances_are_those_of_the_definition_also_between_equal_vectors(metric: Metric) -> None:
    vectors = np.random.default_rng(3).random((30, 200)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    found = distances(metric, vectors[:5].astype(np.float64), vectors.astype(np.float64))
    expected = np.stack([metric.distance(query, vectors) for query in vectors[:5]])
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert found[np.arange(5), np.arange(5)].max() < 1e-6


# The command


def lines(text: str) -> Sequence[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_the_command_prints_what_every_breadth_finds_and_which_is_enough(gateway: Approximate, lookalike: Lookalike) -> None:
    gateway.needs["histogram"] = [(64, 24, 8, 8)[number % 4] for number in range(COUNT)]
    said = lookalike("tune", "shoes", "--recall", "0.99", "--k", str(K), "--queries", str(COUNT))
    assert said.code == exits.OK
    by_hand = f"{recall_by_hand(gateway, 'histogram', 24):.4f}"
    assert [row[:3] for row in lines(said.out) if row[:2] == ["histogram", "24"]] == [["histogram", "24", by_hand]]
    assert [row[0:3:2] for row in lines(said.out) if row[-1:] == ["enough"]] == [["histogram", "1.0000"], ["siamese", "1.0000"]]
    assert "histogram: ef 64 is enough for 0.99" in said.out
    kept = "searches of shoes without an ef of their own take 64 now; `collections update` changes it\n"
    assert said.err == f"for several spaces fused, use the largest: --ef 64\n{kept}"
    assert gateway.collections["shoes"].defaults.ef == 64
    assert "searches that say nothing else: ef 64" in lookalike("collections", "show", "shoes").out


def test_what_was_found_is_not_kept_where_it_is_only_to_be_shown(gateway: Approximate, lookalike: Lookalike) -> None:
    said = lookalike("tune", "shoes", "-k", str(K), "-n", "4", "--show-only")
    assert (said.code, "an ef of their own" in said.err) == (exits.OK, False)
    assert gateway.collections["shoes"].defaults.ef == 0


def test_of_a_collection_that_is_searched_exactly_the_command_says_that_ef_changes_nothing(
    gateway: Approximate, lookalike: Lookalike
) -> None:
    gateway.collections["shoes"].exact = True
    said = lookalike("tune", "shoes", "-k", str(K), "-n", "10")
    assert said.code == exits.OK
    assert "is searched exactly" in said.out
    assert "--ef changes nothing" in said.out
    assert "enough" not in said.out
    assert (said.err, gateway.collections["shoes"].defaults.ef) == ("", 0)
    found = json.loads(lookalike("tune", "shoes", "-k", str(K), "-n", "10", "--json").out)
    assert found["exact"] is True
    assert [(space["ef"], len(space["steps"])) for space in found["spaces"]] == [(None, 1), (None, 1)]


def test_the_command_says_when_nothing_is_enough(gateway: Approximate, lookalike: Lookalike) -> None:
    gateway.needs["siamese"] = [10**6 if number % 2 else 1 for number in range(COUNT)]
    said = lookalike("tune", "shoes", "-k", str(K), "-n", "4", "--space", "siamese")
    assert said.code == exits.UNEXPECTED
    assert "siamese: even ef 32,768 finds only" in said.out
    assert "not 0.99" in said.out
    assert gateway.collections["shoes"].defaults.ef == 0, "half a finding is not kept"
    as_json = lookalike("tune", "shoes", "-k", str(K), "-n", "4", "--space", "siamese", "--json")
    assert as_json.code == exits.UNEXPECTED
    (space,) = json.loads(as_json.out)["spaces"]
    assert (space["space"], space["ef"], space["steps"][-1]["ef"]) == ("siamese", None, 32768)


def test_wrong_usage_is_one_line(gateway: Approximate, lookalike: Lookalike) -> None:
    for arguments in (("shoes", "--recall", "0"), ("shoes", "--k", "0"), ("shoes", "--queries", "0"), ()):
        said = lookalike("tune", *arguments)
        assert (said.code, said.out, said.err.count("\n")) == (exits.INVALID, "", 1)
