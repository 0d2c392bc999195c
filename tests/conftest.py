"""Servers that tests talk to, each started once per process of a test run and ended with it; which tests stay together, and
in which order they are handed out."""

import os
import signal
import sys

import pytest
import structlog

pytest_plugins = [f"tests.servers.{name}" for name in ("redis", "milvus", "stores", "s3", "stack", "browser")]

# Servers and commands are processes of their own. Without kept bytecode each of them compiles every module that it imports:
# those of TensorFlow take most of an embedder's start. Some environments keep Python from writing any.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# A shell that starts a test run in the background lets it ignore Ctrl-C, and whatever it starts would ignore it as well.
signal.signal(signal.SIGINT, signal.default_int_handler)

# structlog draws tracebacks with every local variable unless it is told otherwise, which takes seconds of the processor.
*_before, _ = structlog.get_config()["processors"]
structlog.configure([*_before, structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)])


@pytest.hookimpl(tryfirst=True)  # xdist reads the marks in the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of two processes that share a run (`pytest -n 2 --dist loadgroup`), one gets all tests of a server that is slow to start,
    and each file whole. The longest come first, so that both end at about the same time (`--no-loadscope-reorder`)."""
    slow = {"milvus_uri": "milvus", "stack": "stack"}
    groups: dict[str, str] = {}
    for item in items:
        file = item.nodeid.partition("::")[0]
        needs = [slow[name] for name in getattr(item, "fixturenames", ()) if name in slow]
        # A test may ask for the server by `request.getfixturevalue`, which no name tells: its mark does.
        if "store_uri" in getattr(item, "fixturenames", ()) or item.get_closest_marker("milvus"):
            needs.append("milvus")
        groups[file] = min([*needs, groups.get(file, file)], key=lambda group: (group not in slow.values(), group))
    for item in items:
        item.add_marker(pytest.mark.xdist_group(groups[item.nodeid.partition("::")[0]]))
    if items and getattr(items[0].config.option, "loadgroup", False):
        items.sort(key=lambda item: _turn(item, groups))


def _turn(item: pytest.Item, groups: dict[str, str]) -> int:
    """Groups by the time they take: Milvus, the stack, other processes, all that needs none."""
    file = item.nodeid.partition("::")[0]
    kinds = ("tests/e2e", "tests/contract", "tests/unit/embedder", "tests/unit")
    turns = ("milvus", "stack")
    if groups[file] in turns:
        return turns.index(groups[file])
    return len(turns) + next((n for n, kind in enumerate(kinds) if file.startswith(kind)), len(kinds))
