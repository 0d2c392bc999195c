"""`lookalike up`: the whole system on this machine, until Ctrl-C."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Data = Annotated[Path, typer.Option(help="Folder for everything: pictures, vectors, jobs and logs.", envvar="LOOKALIKE_DATA")]
HttpPort = Annotated[int, typer.Option(help="Port of the web page and the HTTP API; 0 for any free one.")]
Hosts = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        help="Name, or NAME:PORT, by which browsers reach the page through a proxy or a tunnel (repeatable).",
    ),
]
GrpcPort = Annotated[int, typer.Option(help="Port of the gRPC API; 0 for any free one.")]
SourceRoots = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PLACE",
        help="Folder or URL that `ingest` may read in place, such as s3://bucket/photos/ (repeatable). None by default.",
    ),
]
Models = Annotated[
    list[Path] | None,
    typer.Option(
        help="Folder of a model bundle that is always served (repeatable). The first is the default of new collections.",
        show_default="the shipped ones, photo first",
    ),
]
Registry = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        envvar="LOOKALIKE_REGISTRY",
        help="Registry of the models that `lookalike models promote` adds: a folder or an fsspec URL.",
        show_default="models, in the data folder",
    ),
]
Milvus = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Milvus server to use, such as http://127.0.0.1:19530; needed beyond some ten thousand pictures.",
        show_default="Milvus Lite",
    ),
]


def up(
    data: Data = Path("~/.lookalike"),
    http_port: HttpPort = 8080,
    host: Hosts = None,
    grpc_port: GrpcPort = 50051,
    source_root: SourceRoots = None,
    model: Models = None,
    registry: Registry = None,
    milvus: Milvus = None,
) -> None:
    """Run the whole system on this machine until Ctrl-C.

    Starts a Redis server, Milvus Lite, the embedder, an indexer and the gateway with its web page, all listening on 127.0.0.1
    only. All data is kept in one folder and used again at the next start. A part that dies is started again.
    """
    from lookalike.cli.serving import output, print_addresses, print_event, running, wait_for_ctrl_c
    from lookalike.local.parts import LocalConfig
    from lookalike.local.system import LocalSystem

    out = output()
    config = LocalConfig(
        data=data,
        http_port=http_port,
        grpc_port=grpc_port,
        hosts=tuple(host or ()),
        source_roots=tuple(source_root or ()),
        models=tuple(model or ()),
        registry=registry,
        milvus_uri=milvus,
    )
    with running(LocalSystem(config, lambda event: print_event(out, event)), out) as system:
        print_addresses(out, system)
        out.print("  Ctrl-C stops everything; the data stays.")
        wait_for_ctrl_c(system)
        out.print("\n  stopping")
