"""Pictures that cannot be used are refused with their reason, before they cost anything; damage is never worse than that."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from embedder.pictures.decode import Decoder, TowerInput, Wanted
from embedder.pictures.formats import READERS
from lookalike.errors import BadImage
from tests.pictures.made_pictures import bomb, encoded, noise

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # damaged files make Pillow grumble

GREY = Wanted((1,))
COLOR = Wanted((3,))


def reason(data: bytes, decoder: Decoder | None = None) -> str:
    with pytest.raises(BadImage) as caught:
        (decoder or Decoder()).decode(data, COLOR)
    return caught.value.reason


def outcome(attempt: Callable[[bytes], object], data: bytes) -> str:
    try:
        attempt(data)
    except BadImage as error:
        return error.reason
    return "decoded"


def test_samples_without_a_range_are_refused() -> None:
    assert reason(encoded(np.zeros((4, 4), np.float32), "TIFF")) == "IMAGE_FORMAT_UNKNOWN"
    assert reason(encoded(np.zeros((4, 4), np.int32), "TIFF")) == "IMAGE_FORMAT_UNKNOWN"


def test_no_bytes_too_many_bytes_and_other_files() -> None:
    assert reason(b"") == "IMAGE_EMPTY"
    assert reason(encoded(noise(64, 64)), Decoder(max_bytes=1000)) == "IMAGE_TOO_LARGE"
    for other in (b"%PDF-1.7 ...", b"hello", b"\0" * 4096, encoded(Image.new("L", (8, 8)), "PPM")):
        assert reason(other) == "IMAGE_FORMAT_UNKNOWN"


def test_the_limit_itself_is_allowed() -> None:
    data = encoded(noise(10, 10))
    Decoder(max_bytes=len(data), max_pixels=100).decode(data, GREY)
    assert reason(data, Decoder(max_pixels=99)) == "IMAGE_TOO_MANY_PIXELS"


def test_a_bomb_is_refused_from_its_header() -> None:
    data = bomb()
    assert len(data) < 100_000
    assert reason(data) == "IMAGE_TOO_MANY_PIXELS"
    assert reason(data[:200]) == "IMAGE_TOO_MANY_PIXELS"  # the pixels are not even there: decoding would have failed


def test_large_pictures_take_turns_and_all_come_out() -> None:
    decoder, data = Decoder(), encoded(Image.new("L", (3000, 3000), 77))
    with ThreadPoolExecutor(6) as pool:
        made = list(pool.map(lambda _: decoder.decode(data, GREY).canvas, range(6)))
    assert all(one is not None and (one == 77).all() for one in made)


def test_what_is_wrong_is_said_for_people() -> None:
    with pytest.raises(BadImage, match=r"^image: is 20000 x 12000 pixels; at most 50,000,000 in all are allowed$"):
        Decoder().decode(bomb(), COLOR)
    data = sample("PNG")
    with pytest.raises(BadImage, match=r"^image: is truncated or damaged: it ends after row 23 of 48$"):
        Decoder().decode(data[: len(data) // 2], COLOR)


def sample(kind: str) -> bytes:
    return encoded(noise(48, 64, 3), kind)


@pytest.mark.parametrize("kind", READERS)
def test_a_truncated_file_is_unreadable_and_nothing_worse(kind: str) -> None:
    data = sample(kind)
    assert reason(data[: len(data) // 2]) == "IMAGE_UNREADABLE"
    for kept in range(1, len(data), max(1, len(data) // 60)):
        assert outcome(lambda part: Decoder().decode(part, COLOR), data[:kept]) in (
            "decoded",
            "IMAGE_UNREADABLE",
            "IMAGE_FORMAT_UNKNOWN",
        )


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(sorted(READERS)),
    changes=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=8),
)
def test_damaged_bytes_give_a_picture_or_a_reason(kind: str, changes: list[tuple[float, int]]) -> None:
    data = bytearray(sample(kind))
    for place, value in changes:
        # Half of the damage goes to the first 64 bytes, where the headers are.
        limit = 64 if value % 2 else len(data)
        data[min(int(place * limit), len(data) - 1)] = value
    decoder = Decoder(max_pixels=1_000_000)
    as_vectors = outcome(lambda part: decoder.decode(part, Wanted((3,), (TowerInput(28, 1),))), bytes(data))
    # A header may come to claim anything.
    claimed = ("IMAGE_TOO_MANY_PIXELS", "IMAGE_TOO_COSTLY")
    assert as_vectors in ("decoded", "IMAGE_UNREADABLE", "IMAGE_FORMAT_UNKNOWN", *claimed)
    assert outcome(lambda part: decoder.thumbnail(part, 64), bytes(data)) == as_vectors
