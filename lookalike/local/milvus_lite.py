"""The command line that starts milvus-lite's server. `lookalike up` and the tests call it."""

from __future__ import annotations

import sys
from pathlib import Path


def lite_server_command(data_folder: Path, port: int, *, host: str = "127.0.0.1") -> list[str]:
    """The arguments of a process that serves milvus-lite on `host:port` with its data in `data_folder`, made when missing.

    The server has no access control: bind it to the loopback only. The server holds a lock on the folder, listens about 2 s
    after its start (the imports) and answers as soon as it listens. Killing the server is safe at any moment: an acknowledged
    write is in its log file and is replayed at the next start. What the operating system had not yet written is lost with the
    machine.
    """
    return [
        *(sys.executable, "-m", "milvus_lite", "server"),
        *("--data-dir", str(data_folder), "--host", host, "--port", str(port)),
        # Its writes to one collection are not safe from two threads (docstring of milvus_lite.adapter.grpc.server), and
        # its reads hold the interpreter's lock anyway.
        *("--max-workers", "1"),
    ]
