"""What may be stored: images are checked before anything is written."""

from __future__ import annotations

import datetime
from dataclasses import replace

import numpy as np
import pytest

from lookalike.errors import InvalidArgument
from lookalike.records.image import StoredImage
from lookalike.spaces import Metric, ModelSettings, Space, check_vectors
from lookalike.store.checks import check_image
from lookalike.store.milvus.schema import from_row, to_row

SPACE = Space("siamese", 3, Metric.COSINE, "0123456789abcdef", ModelSettings("small"))
IMAGE = StoredImage(
    id="a",
    uri="file:///a.png",
    metadata={"label": "Coat", "n": 1, "deep": {"list": [1, 2.5, None, True]}},
    sha256="0" * 64,
    revision=7,
    index_time=datetime.datetime(2026, 1, 31, 12, 30, 15, 123456, tzinfo=datetime.timezone(datetime.timedelta(hours=2))),
    vectors={"siamese": np.array([1, 2, 3], np.float32)},
)


def test_an_image_comes_back_from_its_row_as_it_went_in() -> None:
    row = to_row(IMAGE, SPACE)
    back = from_row(row, {"siamese": row["vector"]})
    assert replace(back, vectors={}) == replace(IMAGE, vectors={})
    np.testing.assert_array_equal(back.vectors["siamese"], IMAGE.vectors["siamese"])


def test_a_good_image_passes() -> None:
    check_image(IMAGE, [SPACE])


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"id": ""}, "id"),
        ({"id": "x" * 257}, "id"),
        ({"uri": "x" * 2049}, "uri"),
        ({"sha256": "0" * 65}, "sha256"),
        ({"revision": -1}, "revision"),
        ({"metadata": {"n": float("nan")}}, "metadata.n"),
        ({"vectors": {}}, "vectors"),
        ({"vectors": {"siamese": np.zeros(4, np.float32)}}, "vectors"),
        ({"vectors": {"siamese": np.array([1, np.nan, 0], np.float32)}}, "vectors"),
        ({"vectors": {"siamese": np.float32(1)}}, "vectors"),
    ],
)
def test_a_bad_image_is_refused_with_the_field_at_fault(changes: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        check_image(replace(IMAGE, **changes), [SPACE])  # type: ignore[arg-type]
    assert refused.value.field == field


def test_queries_of_the_wrong_length_are_refused() -> None:
    check_vectors("vectors", np.ones((2, 3), np.float32), SPACE)
    with pytest.raises(InvalidArgument, match="has 4 values; space 'siamese' needs 3"):
        check_vectors("vectors", np.ones((2, 4), np.float32), SPACE)
    with pytest.raises(InvalidArgument):
        check_vectors("vectors", np.ones(3, np.float32), SPACE)
