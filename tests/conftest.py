"""Servers that tests talk to. Each is started once per test run and ends with it."""

pytest_plugins = ["tests.servers.redis", "tests.servers.milvus", "tests.servers.stack"]
