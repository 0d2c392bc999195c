"""Servers that tests talk to. Each is started once per test run and ends with it."""

import signal

pytest_plugins = ["tests.servers.redis", "tests.servers.milvus", "tests.servers.stack"]

# A shell that starts a test run in the background lets it ignore Ctrl-C, and whatever it starts would ignore it as well.
signal.signal(signal.SIGINT, signal.default_int_handler)
