"""Where the contract puts its RPCs over HTTP, by their `google.api.http` options. Read by the gateway's routes and `rights`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from google.api.annotations_pb2 import http
from google.protobuf.descriptor import FileDescriptor, MethodDescriptor


@dataclass(frozen=True, slots=True)
class Binding:
    """An RPC at a route. `path` is written as Starlette has it: `{id:path}` is a parameter that may hold slashes."""

    method: MethodDescriptor
    verb: str
    path: str
    has_body: bool

    @property
    def name(self) -> str:
        return str(self.method.name)

    @property
    def route(self) -> str:
        return f"{self.verb} {self.path}"


def bindings(files: Sequence[FileDescriptor]) -> Iterator[Binding]:
    """In the contract's order. An RPC without the option is none."""
    for file in files:
        for service in file.services_by_name.values():
            for method in service.methods:
                rule = method.GetOptions().Extensions[http]
                if verb := rule.WhichOneof("pattern"):
                    yield Binding(method, verb.upper(), getattr(rule, verb).replace("=**}", ":path}"), bool(rule.body))
