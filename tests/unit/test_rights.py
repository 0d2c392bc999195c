"""Every way in has a row in the table of rights, and every row is of a way in."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from grpc_health.v1 import health_pb2
from starlette.routing import Mount, Route

import lookalike.v1
from gateway.http.app import Core, build_routes
from gateway.readiness import Readiness
from indexer.tasks import build_app
from lookalike.errors import Internal
from lookalike.rights import ROUTES, RPCS, TASKS, Need, On, Right, need_of
from tests.unit.gateway.fakes import NOTHING


def rpcs() -> Iterator[tuple[str, MethodDescriptor]]:
    """By service and method, of every file of the contract."""
    for module in pkgutil.iter_modules(lookalike.v1.__path__):
        if module.name.endswith("_pb2"):
            file = importlib.import_module(f"lookalike.v1.{module.name}").DESCRIPTOR
            for service in file.services_by_name.values():
                yield from ((f"{service.name}/{method.name}", method) for method in service.methods)


METHODS = dict(rpcs())


def routes() -> set[str]:
    app = build_routes(Core(NOTHING, NOTHING, NOTHING, NOTHING, NOTHING), Readiness({}))
    found = set[str]()
    for route in app.routes:
        assert isinstance(route, Route | Mount)
        methods = {"GET"} if isinstance(route, Mount) else (route.methods or set()) - {"HEAD"}
        found |= {f"{method} {route.path}" for method in methods}
    return found


def field_of(method: MethodDescriptor, path: str) -> FieldDescriptor:
    message = method.input_type
    *outer, last = path.split(".")
    for name in outer:
        message = message.fields_by_name[name].message_type  # type: ignore[assignment]
    return message.fields_by_name[last]


def test_every_rpc_declares_a_right_and_one_that_does_not_is_refused() -> None:
    assert set(RPCS) == set(METHODS)
    with pytest.raises(Internal, match=r"grpc.health.v1.Health.Check declares no right"):
        need_of(health_pb2.DESCRIPTOR.services_by_name["Health"].methods_by_name["Check"])


def test_every_route_is_in_the_table_and_nothing_else_is() -> None:
    assert set(ROUTES) == routes()


def test_every_task_is_in_the_table_and_nothing_else_is() -> None:
    worker: Any = NOTHING
    broker: Any = "memory://"
    tasks = {name for name in build_app(broker, worker).tasks if not name.startswith("celery.")}
    assert set(TASKS) == tasks


@pytest.mark.parametrize("name", METHODS)
def test_a_row_names_fields_that_its_request_has(name: str) -> None:
    need, method = RPCS[name], METHODS[name]
    if need.names:
        assert field_of(method, need.names).type == FieldDescriptor.TYPE_STRING
    for flag in need.also:
        name, _, value = flag.partition("=")
        enum = field_of(method, name).enum_type
        assert value in enum.values_by_name if enum else not value
        assert enum or field_of(method, name).type == FieldDescriptor.TYPE_BOOL
    assert bool(need.names) == (need.on in (On.COLLECTION, On.JOB)) or need.on is On.EACH


def flags_for_vectors(message: Descriptor, path: str = "") -> Iterator[str]:
    for field in message.fields:
        if field.enum_type is not None and field.enum_type.name == "ImageView":
            yield f"{path}{field.name}=IMAGE_VIEW_FULL"
        elif field.name.startswith("include_") and "vectors" in field.name:
            yield path + field.name
        elif field.name == "options" and field.message_type is not None:
            yield from flags_for_vectors(field.message_type, "options.")


@pytest.mark.parametrize("name", METHODS)
def test_vectors_are_for_those_who_may_read(name: str) -> None:
    """Pictures can be made of them again."""
    need, method = RPCS[name], METHODS[name]
    flags = set(flags_for_vectors(method.input_type))
    assert {flag for flag, right in need.also.items() if right is Right.READ} == flags


@pytest.mark.parametrize(("path", "need"), ROUTES.items())
def test_a_route_below_a_collection_or_a_job_needs_a_right_on_it(path: str, need: Need) -> None:
    if "{collection}" in path:
        assert need.on is On.COLLECTION
    if "{name}" in path:
        assert (need.on, need.names.rpartition(".")[2]) == (On.COLLECTION, "name")
    if "/ingest-jobs/{id}" in path:
        assert need.on is On.JOB
    if path.split()[1].startswith("/v1/"):
        assert need.right not in (Right.NONE, Right.SERVICE)
