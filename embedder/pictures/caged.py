"""`python -m embedder.pictures.caged`: a process that decodes the pictures of its standard input, one after the other.

`caged_process` starts and ends it, and it ends with its input. The process imports Pillow and NumPy and nothing that serves.
"""

from __future__ import annotations

import io
import os
import signal
from collections.abc import Callable
from typing import Any, BinaryIO

from PIL import Image

from embedder.pictures.decode import Decoder
from embedder.pictures.formats import READERS
from embedder.pictures.sandbox import Sandbox
from embedder.pictures.tasks import ThumbnailTask, framed, from_json, read_frame
from lookalike.errors import BadImage
from lookalike.names import MAX_IMAGE_BYTES


def serve(answer: Callable[[dict[str, Any], bytes, Sandbox], tuple[dict[str, Any], bytes]]) -> None:
    """Answer to what comes over standard input until it ends."""
    for number in (signal.SIGINT, signal.SIGTERM):  # it ends with its input, when the embedder has done what is under way
        signal.signal(number, signal.SIG_IGN)
    requests, answers = os.fdopen(0, "rb", buffering=0), os.fdopen(1, "wb", buffering=0)
    _import_everything(Decoder())
    sandbox = Sandbox()
    _send(answers, {"filtered": sandbox.filtered}, b"")
    while True:
        try:
            asked, data = read_frame(lambda size: _exactly(requests, size), MAX_IMAGE_BYTES)
        except EOFError:
            return
        head, content = answer(asked, data, sandbox)
        del data
        _send(answers, head, content)


def decoded(asked: dict[str, Any], data: bytes, sandbox: Sandbox) -> tuple[dict[str, Any], bytes]:
    """What was asked for, or why it cannot be made."""
    task = from_json(asked["task"])
    repaired: list[str] = []
    decoder = Decoder(max_pixels=asked["max_pixels"], repaired=repaired.append)
    try:
        with sandbox.limits(asked["memory_bytes"], asked["processor_s"]):
            shapes, content = task.packed(task.run(decoder, data))
    except BadImage as error:
        return {"reason": error.reason, "problem": error.problem}, b""
    return {"shapes": shapes, "repaired": repaired}, content


def _import_everything(decoder: Decoder) -> None:
    """Pillow imports some of itself when it is first needed, which the sandbox does not allow any more."""
    Image.init()
    for name in READERS.keys() & Image.SAVE.keys():
        stream = io.BytesIO()
        Image.new("RGB", (16, 16)).save(stream, name)
        ThumbnailTask(16).run(decoder, stream.getvalue())


def _exactly(stream: BinaryIO, size: int) -> bytes:
    content = bytearray(size)
    view, at = memoryview(content), 0
    while at < size:
        got = stream.readinto(view[at:])  # type: ignore[attr-defined]
        if not got:
            raise EOFError
        at += got
    view.release()
    return bytes(content)


def _send(stream: BinaryIO, head: dict[str, Any], content: bytes) -> None:
    left = memoryview(framed(head, len(content)) + content)
    while left:
        left = left[stream.write(left) :]


if __name__ == "__main__":
    serve(decoded)
