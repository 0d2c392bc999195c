"""Servers that tests talk to, each started once per process of a test run and ended with it; which tests stay together, and
in which order they are handed out."""

import os
import signal
import sys

import pytest
import structlog

pytest_plugins = [
    f"tests.servers.{name}" for name in ("starts", "redis", "milvus", "stores", "s3", "worker", "stack", "browser")
]

# Servers and commands are processes of their own. Without kept bytecode each of them compiles every module that it imports:
# those of TensorFlow take most of an embedder's start. Some environments keep Python from writing any.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# The processes of a run have the processors to themselves; they are one more than these, since half of their time they wait.
# OpenBLAS's threads wait by turning: on a processor that others use, what takes a millisecond in one thread takes a hundred in
# two.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# A shell that starts a test run in the background lets it ignore Ctrl-C, and whatever it starts would ignore it as well.
signal.signal(signal.SIGINT, signal.default_int_handler)

# structlog draws tracebacks with every local variable by default, which takes seconds of the processor.
*_before, _ = structlog.get_config()["processors"]
structlog.configure([*_before, structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)])


_GROUPS = {
    "milvus_uri": "milvus",
    "stack": "stack",
    "milvus_lite_uri": "lite",
    "shared_embedder": "lite",
    "lite_to_stop": "lite",
    "s3_server": "s3",
}
"""Which tests stay together, by the fixture of the server that they share. What needs two of them goes with the first."""
_TURNS = ("milvus", "stack", "lite", "s3", "tests/e2e", "tests/contract", "tests/unit/embedder", "tests/unit")
"""Groups by the time that they take, and by the folders of those that share no server."""


@pytest.hookimpl(tryfirst=True)  # xdist reads the marks in the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of the processes that share a run (`pytest -n 3 --dist loadgroup`), one gets all tests of a server that is slow to start,
    and of every file what shares none. The longest come first, so that all end at about the same time
    (`--no-loadscope-reorder`)."""
    groups = {item: _group(item) for item in items}
    for item, group in groups.items():
        item.add_marker(pytest.mark.xdist_group(group))
    if items and getattr(items[0].config.option, "loadgroup", False):
        items.sort(key=lambda item: _turn(item, groups[item]))


def _turn(item: pytest.Item, group: str) -> tuple[int, bool]:
    turn = next((number for number, start in enumerate(_TURNS) if group.startswith(start)), len(_TURNS))
    # A process is handed its next group when two tests are left of the last: those of whole systems are too long for that.
    # Milvus is the exception: what whole systems leave in it must not be there yet for the tests of the store.
    return turn, item.nodeid.startswith("tests/e2e") == (group == "milvus")


def _group(item: pytest.Item) -> str:
    # Tests ask for a store, or for a place of files, by a parameter, which no fixture's name shows.
    chosen = getattr(item, "callspec", None)
    stores = [chosen.params.get(name) for name in ("store_uri", "store_server", "place", "whole_system")] if chosen else []
    needed = {_GROUPS[name] for name in getattr(item, "fixturenames", ()) if name in _GROUPS}
    needed |= {group for group in _GROUPS.values() if group in stores}
    return next((group for group in _GROUPS.values() if group in needed), item.nodeid.partition("::")[0])
