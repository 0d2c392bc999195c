"""A peer that speaks just enough HTTP/2 to misbehave: it opens calls and sends, or reads, no more than it is asked to."""

from __future__ import annotations

import asyncio
import struct

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING = 0, 1, 3, 4, 6
_END_HEADERS, _END_STREAM, _ACK = 4, 1, 1
_INITIAL_WINDOW_SIZE = 4


class RawHttp2:
    """One connection. `closed` holds the streams that the server has ended, each with how."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer, self._next = reader, writer, 1
        self.closed: dict[int, str] = {}
        self._reading = asyncio.ensure_future(self._read())

    @classmethod
    async def open(cls, port: int, *, window_bytes: int = 65535) -> RawHttp2:
        """Reads at most `window_bytes` of each answer."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(_PREFACE + _frame(_SETTINGS, 0, 0, struct.pack("!HI", _INITIAL_WINDOW_SIZE, window_bytes)))
        return cls(reader, writer)

    def call(self, method: str, message: bytes | None = None, *, end: bool = True) -> int:
        """Begin a call of `/package.Service/Method`; with a message and the end of the request where they are given."""
        stream, self._next = self._next, self._next + 2
        fields = {":method": "POST", ":scheme": "http", ":path": method, ":authority": "localhost"}
        fields |= {"te": "trailers", "content-type": "application/grpc"}
        block = b"".join(b"\x00" + _text(name) + _text(value) for name, value in fields.items())
        self._writer.write(_frame(_HEADERS, _END_HEADERS, stream, block))
        if message is not None:
            self.send(stream, message, end=end)
        return stream

    def send(self, stream: int, message: bytes, *, end: bool = False) -> None:
        self.send_raw(stream, struct.pack("!BI", 0, len(message)) + message, end=end)

    def send_raw(self, stream: int, content: bytes, *, end: bool = False) -> None:
        """A part of a message, its length before it."""
        self._writer.write(_frame(_DATA, _END_STREAM if end else 0, stream, content))

    async def until_closed(self, *streams: int, but: int = 0) -> None:
        """Wait for the end of all of `streams` `but` some of them."""
        while len(self.closed.keys() & set(streams)) < len(streams) - but:
            await asyncio.sleep(0.005)

    def close(self) -> None:
        self._reading.cancel()
        self._writer.transport.abort()

    async def _read(self) -> None:
        while True:
            head = await self._reader.readexactly(9)
            size, kind, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
            stream = int.from_bytes(head[5:], "big")
            content = await self._reader.readexactly(size)
            if kind == _SETTINGS and not flags & _ACK:
                self._writer.write(_frame(_SETTINGS, _ACK, 0, b""))
            elif kind == _PING and not flags & _ACK:
                self._writer.write(_frame(_PING, _ACK, 0, content))
            elif kind == _RST_STREAM:
                self.closed.setdefault(stream, "reset")
            elif kind in (_DATA, _HEADERS) and flags & _END_STREAM:
                self.closed[stream] = "answered"


def _frame(kind: int, flags: int, stream: int, content: bytes) -> bytes:
    return len(content).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + content


def _text(text: str) -> bytes:
    assert len(text) < 127, "longer ones need HPACK's integers"
    return bytes([len(text)]) + text.encode()
