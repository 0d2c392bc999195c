"""Near-duplicates are similar, and stand out from all that is similar too."""

from __future__ import annotations

import pytest

from indexer.chunk.near_duplicates import ALONE_SIMILARITY, stands_out

FAR = [0.4, 0.5, 0.6, 0.7, 0.8]


def distance(similarity: float) -> float:
    return 2.0 * (1.0 - similarity)


def test_a_copy_of_a_photograph_is_far_from_all_others() -> None:
    assert stands_out(distance(0.96), [distance(0.96), *FAR], 0.95)
    assert not stands_out(distance(0.94), [distance(0.94), *FAR], 0.95)


def test_a_page_of_text_is_near_to_many_and_a_duplicate_of_none() -> None:
    pages = [distance(0.99 - 0.001 * n) for n in range(20)]
    assert not stands_out(pages[0], pages, 0.95)
    assert stands_out(distance(0.999), [distance(0.999), *pages], 0.95), "a page that was scanned twice"


def test_four_other_copies_hide_none_and_equal_pictures_never_do() -> None:
    copies = [distance(0.99 - 0.005 * n) for n in range(5)]
    assert stands_out(copies[0], [*copies, *FAR], 0.95)
    assert not stands_out(copies[0], [*copies, distance(0.965), *FAR], 0.95)
    assert stands_out(0.0, [0.0] * 50, 0.95)


@pytest.mark.parametrize("others", range(5))
def test_where_there_is_little_to_compare_with_only_what_is_almost_equal_counts(others: int) -> None:
    for similarity, duplicate in ((ALONE_SIMILARITY, True), (ALONE_SIMILARITY - 0.001, False)):
        assert stands_out(distance(similarity), [distance(similarity), *FAR[:others]][: others + 1], 0.95) is duplicate
    assert not stands_out(distance(0.999), [distance(0.999)], 0.9995), "a stricter threshold holds here too"
