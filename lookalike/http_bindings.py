"""Where the contract puts its RPCs over HTTP, by their `google.api.http` options. Read by the gateway's routes and `rights`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from google.api.annotations_pb2 import http
from google.protobuf.descriptor import FileDescriptor, MethodDescriptor

_VARIABLE = re.compile(r"{([\w.]+)(=\*\*)?}")


@dataclass(frozen=True, slots=True)
class Binding:
    """An RPC at a route. `path` is written as Starlette has it: `{id:path}` is a parameter that may hold slashes. `in_path` has
    the field of the request for each parameter, which has the field's last name: `name` is `collection.name`. `body` is the
    field that the body fills, "*" for all that is not in the path, "" where there is no body."""

    method: MethodDescriptor
    verb: str
    path: str
    in_path: Mapping[str, str]
    body: str

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
                    template = getattr(rule, verb)
                    in_path = {_last(field): field for field, _ in _VARIABLE.findall(template)}
                    yield Binding(method, verb.upper(), _VARIABLE.sub(_parameter, template), in_path, str(rule.body))


def _parameter(variable: re.Match[str]) -> str:
    return f"{{{_last(variable[1])}{':path' if variable[2] else ''}}}"


def _last(field: str) -> str:
    return field.rpartition(".")[2]
