"""Generates `lookalike/v1/` from `protos/`: the build hook of pyproject.toml, and `python protos/build_stubs.py` by hand.

Runs for wheels, sdists, editable installs and `uv sync` alike, so that stubs are never committed and never stale.
"""

from __future__ import annotations

import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PACKAGE = '"""Stubs generated from protos/lookalike/v1/ at build time. Do not edit; do not commit."""\n'


def build_stubs(root: Path) -> None:
    """Write `*_pb2.py`, `*_pb2_grpc.py`, their typed `.pyi` and `contract.binpb`, the descriptors with their comments, into
    `root/lookalike/v1/`."""
    from grpc_tools import protoc

    protos = root / "protos"
    sources = sorted(str(path) for path in (protos / "lookalike" / "v1").glob("*.proto"))
    target = root / "lookalike" / "v1"
    target.mkdir(parents=True, exist_ok=True)
    (target / "__init__.py").write_text(PACKAGE, encoding="utf-8")
    scripts = Path(sys.executable).parent
    plugins = [
        f"--plugin=protoc-gen-{name}={scripts / f'protoc-gen-{name}'}"
        for name in ("mypy", "mypy_grpc")
        if (scripts / f"protoc-gen-{name}").exists()
    ]
    status = protoc.main(
        [
            "protoc",
            f"-I{protos}",
            f"-I{files('grpc_tools') / '_proto'}",
            *plugins,
            f"--python_out={root}",
            f"--grpc_python_out={root}",
            f"--mypy_out=quiet:{root}",
            f"--mypy_grpc_out=quiet:{root}",
            f"--descriptor_set_out={target / 'contract.binpb'}",
            "--include_source_info",
            *sources,
        ]
    )
    if status != 0:
        raise RuntimeError(f"protoc failed with exit code {status}; its messages are above")


class StubsHook(BuildHookInterface[Any]):
    """hatchling's build hook."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        build_stubs(Path(self.root))


if __name__ == "__main__":
    build_stubs(Path(__file__).resolve().parent.parent)
