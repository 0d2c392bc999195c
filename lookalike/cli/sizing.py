"""`lookalike sizing`: the memory, disk and query nodes that images need on a Milvus cluster, by index type. No server is
asked."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import TYPE_CHECKING, Annotated

import typer

from lookalike.cli.connection import AsJson
from lookalike.cli.fitting import put
from lookalike.cli.terminal import bytes_text, console, count_text, duration_text, emit_json, table, visible
from lookalike.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lookalike.sizing import IndexType, Size

_COUNTS = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9}
_BYTES = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}
_NUMBER = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,15})?)\s*([a-zA-Z]*)")

Images = Annotated[str, typer.Option(metavar="N", help="Number of images: 100M, 1B or 1000000.")]
Dimension = Annotated[list[str], typer.Option(metavar="D", help="Dimension of a space's vectors (repeatable, for each space).")]
Index = Annotated[
    list[str] | None,
    typer.Option(metavar="TYPE", help="Index type: HNSW, HNSW_SQ, DISKANN or GPU_CAGRA (repeatable).", show_default="all"),
]
Replicas = Annotated[int, typer.Option(help="Copies of every vector, for more queries or for the loss of a node.")]
MetadataBytes = Annotated[float, typer.Option(help="Mean bytes of an image's id, URI and metadata together.")]
NodeMemory = Annotated[str, typer.Option(metavar="SIZE", help="Memory of one query node, such as 64GiB.")]
GpuMemory = Annotated[str, typer.Option(metavar="SIZE", help="Memory of the one GPU of a query node, for GPU_CAGRA.")]
Rate = Annotated[
    float | None,
    typer.Option(
        metavar="IMAGES/S", help="Images ingested per second: gives the time, and bounds the log and the room for compaction."
    ),
]


def sizing(
    images: Images,
    dimension: Dimension,
    index: Index = None,
    replicas: Replicas = 1,
    metadata_bytes: MetadataBytes = 200.0,
    node_memory: NodeMemory = "64GiB",
    gpu_memory: GpuMemory = "24GiB",
    rate: Rate = None,
    as_json: AsJson = False,
) -> None:
    """Compute what images need on a Milvus cluster: memory, disk and query nodes, by index type.

    No server is asked: lookalike/sizing.py has the formulas with their sources. Without --rate all images count as written at
    once: the log then holds all of them, and the storage twice what it will keep. Lookalike itself builds HNSW; see
    deploy/SIZING.md.
    """
    from lookalike.sizing import size

    count, dimensions = parse_count("images", images), [parse_count("dimension", one) for one in dimension]
    node_bytes, gpu_bytes = parse_bytes("node-memory", node_memory), parse_bytes("gpu-memory", gpu_memory)
    sizes = [
        size(
            one, count, dimensions, facts_bytes=metadata_bytes, replicas=replicas, node_bytes=node_bytes, gpu_bytes=gpu_bytes,
            rate=rate,
        )
        for one in parse_types(index or [])
    ]  # fmt: skip
    if as_json:
        emit_json([to_record(one) for one in sizes])
        return
    spaces = " and ".join(f"{one:,}" for one in dimensions)
    out = console()
    line = f"{count_text(count, 'image')}, {count_text(len(dimensions), 'space')} of {spaces} values, "
    line += f"{count_text(replicas, 'replica')}; query nodes of {visible(node_memory)}"
    out.print(line, soft_wrap=True)
    _print(sizes, visible(gpu_memory))


def parse_count(name: str, text: str) -> int:
    """`100M`, `1.5B`, `1000000` as a whole number. Raises `InvalidArgument` for option `name`."""
    value = _parsed(name, text, _COUNTS, "such as 1000000, 100M or 1B")
    if value.denominator != 1:
        raise InvalidArgument(name, f"{text!r} is not a whole number")
    return value.numerator


def parse_bytes(name: str, text: str) -> int:
    """`64GiB`, `64GB` as bytes. Raises `InvalidArgument` for option `name`."""
    return round(_parsed(name, text, _BYTES, "such as 64GiB or 64GB"))


def parse_types(names: Sequence[str]) -> list[IndexType]:
    """Index types by name, in upper or lower case; all types for no names. Raises `InvalidArgument`."""
    from lookalike.sizing import IndexType

    there = {one.value: one for one in IndexType}
    for name in names:
        if name.upper() not in there:
            raise InvalidArgument("index", f"{name!r} is unknown; there are {', '.join(there)}")
    return [there[name] for name in dict.fromkeys(name.upper() for name in names)] or list(IndexType)


def to_record(one: Size) -> dict[str, object]:
    """For JSON: every field, and the sum of the object storage."""
    from dataclasses import asdict

    return asdict(one) | {"storage_bytes": one.storage_bytes}


def _parsed(name: str, text: str, units: dict[str, int], examples: str) -> Fraction:
    found = _NUMBER.fullmatch(text.strip())
    unit = found[2].upper() if found else ""
    if not found or unit not in units:
        raise InvalidArgument(name, f"{text!r} is not a size; give one {examples}")
    return Fraction(found[1]) * units[unit]


def _print(sizes: Sequence[Size], gpu_memory: str) -> None:
    with_gpu = any(one.gpus for one in sizes)
    columns = ["memory", "nodes", *(["GPUs"] if with_gpu else []), "node disk", "storage", "log"]
    rows = table("index", *columns, numbers=columns)
    for one in sizes:
        gpus = [f"{one.gpus:,}" if one.gpus else "-"] if with_gpu else []
        rows.add_row(
            one.index.value, bytes_text(one.memory_bytes), f"{one.query_nodes:,}", *gpus, _or_dash(one.node_disk_bytes),
            bytes_text(one.storage_bytes), bytes_text(one.log_bytes),
        )  # fmt: skip
    out = console()
    put(out, rows)
    for one in sizes:
        parts = [f"{bytes_text(one.rows_bytes)} of rows", f"{bytes_text(one.index_bytes)} of index"]
        line = f"{one.index.value}: in the storage {', '.join(parts)}, {bytes_text(one.headroom_bytes)} for compaction"
        if one.gpus:
            line += f"; {bytes_text(one.gpu_bytes)} of GPU memory, on GPUs of {gpu_memory}"
        out.print(line, soft_wrap=True)
    if sizes[0].ingest_s is not None:
        out.print(f"ingesting takes {_long_text(sizes[0].ingest_s)}", soft_wrap=True)


def _or_dash(size_bytes: int) -> str:
    return bytes_text(size_bytes) if size_bytes else "-"


def _long_text(seconds: float) -> str:
    return f"{seconds / 86400:,.1f} days" if seconds >= 2 * 86400 else duration_text(seconds)
