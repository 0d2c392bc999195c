"""TLS for tests: certificates of an authority that only they know, and TLS in front of a server that speaks none.

`behind_tls` is what a proxy or a sidecar does: it ends TLS and hands on what is within.
"""

from __future__ import annotations

import asyncio
import datetime
import queue
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import trustme

HOST = "127.0.0.1"
_LAST_YEARS = {"not_before": datetime.datetime(2020, 1, 1), "not_after": datetime.datetime(2020, 2, 1)}


@dataclass(frozen=True)
class Certificate:
    """A certificate for 127.0.0.1. `chain` and `key` are PEM files, `authority` the one to believe it from."""

    chain: Path
    key: Path
    authority: Path


def certificate(folder: Path, *, expired: bool = False) -> Certificate:
    """A new one, of a new authority, with its files in `folder`."""
    authority = trustme.CA()
    issued = authority.issue_cert(HOST, **(_LAST_YEARS if expired else {}))  # type: ignore[arg-type]
    made = Certificate(folder / "chain.pem", folder / "key.pem", folder / "authority.pem")
    made.chain.write_bytes(b"".join(part.bytes() for part in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(str(made.key))
    authority.cert_pem.write_to_path(str(made.authority))
    return made


@contextmanager
def behind_tls(port: int, own: Certificate) -> Iterator[int]:
    """The port of a TLS server that hands on to `port` of this machine; HTTP/2 for those who ask for it."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(own.chain, own.key)
    context.set_alpn_protocols(["h2"])
    bound: queue.SimpleQueue[tuple[int, Callable[[], object]]] = queue.SimpleQueue()
    thread = threading.Thread(target=asyncio.run, args=(_serve(port, context, bound),), daemon=True)
    thread.start()
    own_port, end = bound.get()
    try:
        yield own_port
    finally:
        end()
        thread.join()


async def _serve(port: int, context: ssl.SSLContext, bound: queue.SimpleQueue[tuple[int, Callable[[], object]]]) -> None:
    async def hand_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, onward = await asyncio.open_connection(HOST, port)
        with suppress(asyncio.CancelledError):  # at the end; asyncio's streams would write a traceback
            await asyncio.gather(_copy(reader, onward), _copy(back, writer))

    ended, loop = asyncio.Event(), asyncio.get_running_loop()
    server = await asyncio.start_server(hand_on, HOST, 0, ssl=context)
    bound.put((server.sockets[0].getsockname()[1], lambda: loop.call_soon_threadsafe(ended.set)))
    await ended.wait()
    server.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while some := await reader.read(65536):
            writer.write(some)
            await writer.drain()
    except OSError:
        pass  # One side has gone; the other is closed below.
    finally:
        writer.close()
