"""How a run is shared by two processes (`pytest -n 2 --dist loadgroup`)."""

import pytest


def test_every_test_carries_the_group_that_keeps_it_with_its_servers(request: pytest.FixtureRequest) -> None:
    """pytest-xdist hands tests out by what stands behind the `@` of their ids; without it each process starts every server."""
    if not getattr(request.config.option, "loadgroup", False):
        pytest.skip("this run is not shared by groups")
    ungrouped = [item.nodeid for item in request.session.items if "@" not in item.nodeid.rpartition("::")[2]]
    assert ungrouped == []
