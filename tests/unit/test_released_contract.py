"""The contract keeps what its last release promised: what buf compares, and what buf cannot see."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.api.annotations_pb2 import http
from google.api.field_behavior_pb2 import REQUIRED, field_behavior
from google.api.http_pb2 import HttpRule
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorSet, MethodDescriptorProto

from lookalike.v1 import bounds_pb2, rights_pb2

ROOT = Path(__file__).resolve().parents[2]
PROTOS = ROOT / "protos"
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
RELEASED = PROTOS / "released" / f"{VERSION}.binpb"
MOST = (bounds_pb2.max_items, bounds_pb2.max_bytes, bounds_pb2.max_characters, bounds_pb2.maximum)


def breaks(before: FileDescriptorSet, after: FileDescriptorSet) -> Iterator[str]:
    """What `before` promised and `after` does not keep, of what buf does not compare: paths over HTTP, the rights that callers
    need, bounds, and fields that a request needs. `after` has everything that `before` has, since buf compares that."""
    methods, fields = dict(methods_of(after)), dict(fields_of(after))
    for name, method in methods_of(before):
        both = [one.options.Extensions for one in (method, methods[name])]
        was, remains = (routes(options[http]) for options in both)
        yield from (f"{name}: {route} is gone" for route in was - remains)
        if both[0][rights_pb2.need] != both[1][rights_pb2.need]:
            yield f"{name}: callers need other rights"
    known = dict(fields_of(before))
    for name, field in known.items():
        then, now = field.options.Extensions, fields[name].options.Extensions
        for bound in MOST:
            if now[bound] and not 0 < then[bound] <= now[bound]:
                yield f"{name}: {bound.name} is lower"
        if now[bounds_pb2.minimum] > then[bounds_pb2.minimum]:
            yield f"{name}: minimum is higher"
        if REQUIRED in now[field_behavior] and REQUIRED not in then[field_behavior]:
            yield f"{name}: is required"
    messages = {name.rpartition(".")[0] for name in known}
    for name in fields.keys() - known.keys():
        if name.rpartition(".")[0] in messages and REQUIRED in fields[name].options.Extensions[field_behavior]:
            yield f"{name}: is new and required"


def methods_of(contract: FileDescriptorSet) -> Iterator[tuple[str, MethodDescriptorProto]]:
    for file in contract.file:
        for service in file.service:
            yield from ((f"{service.name}.{method.name}", method) for method in service.method)


def fields_of(contract: FileDescriptorSet) -> Iterator[tuple[str, FieldDescriptorProto]]:
    def within(message: DescriptorProto, name: str) -> Iterator[tuple[str, FieldDescriptorProto]]:
        yield from ((f"{name}.{field.name}", field) for field in message.field)
        for nested in message.nested_type:
            yield from within(nested, f"{name}.{nested.name}")

    for file in contract.file:
        if file.package == "lookalike.v1":
            for message in file.message_type:
                yield from within(message, message.name)


def routes(rule: HttpRule) -> set[str]:
    """The routes of an RPC, with what fills the body and the answer."""
    verb = rule.WhichOneof("pattern")
    own = {f"{verb} {getattr(rule, verb)} {rule.body}>{rule.response_body}"} if verb else set()
    return own.union(*map(routes, rule.additional_bindings))


def contract(path: Path) -> FileDescriptorSet:
    return FileDescriptorSet.FromString(path.read_bytes())


def buf(*arguments: str | Path) -> tuple[int, str]:
    """The exit status of a command of buf, and what it printed."""
    command = (Path(sys.executable).parent / "buf", *arguments)
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, done.stdout + done.stderr


def changed(folder: Path, *changes: tuple[str, str, str]) -> Path:
    """A copy of the contract in which each file has the new text for the old one."""
    protos = folder / "protos"
    shutil.copytree(PROTOS, protos, ignore=shutil.ignore_patterns("released", "__pycache__"))
    for file, old, new in changes:
        path = protos / "lookalike" / "v1" / file
        content = path.read_text()
        assert content.count(old) == 1, f"{file} has {old!r} {content.count(old)} times"
        path.write_text(content.replace(old, new))
    return protos


def test_the_contract_keeps_what_buf_cannot_see_of_the_last_release() -> None:
    assert list(breaks(contract(RELEASED), contract(ROOT / "lookalike" / "v1" / "contract.binpb"))) == []


@pytest.mark.parametrize(
    ("file", "old", "new", "finding"),
    [
        ("search_service.proto", "string image_id = 2", "string id = 2", 'changed name from "image_id" to "id"'),
        (
            "embedder_service.proto",
            "Lane lane = 3",
            "Lane lane = 4",
            '"3" with name "lane" on message "EmbedRequest" was deleted',
        ),
        ("search_service.proto", "bool merge = 3;", "reserved 3; reserved 'merge';", '"3" with name "merge"'),
        ("search_service.proto", "IMAGE_VIEW_FULL = 3", "IMAGE_VIEW_FULL = 4", 'value "3" on enum "ImageView" was deleted'),
        ("collection_service.proto", "int64 generation = 5 ", "int32 generation = 5 ", 'from "int64" to "int32"'),
        ("search_service.proto", "rpc CountImages(", "rpc CountAllImages(", 'RPC "CountImages"'),
    ],
    ids=["renamed", "renumbered", "reserved", "enum", "type", "rpc"],
)
def test_buf_names_a_break_of_the_last_release(tmp_path: Path, file: str, old: str, new: str, finding: str) -> None:
    status, printed = buf("breaking", changed(tmp_path, (file, old, new)), "--against", RELEASED)
    assert status != 0
    assert f"{file}:" in printed
    assert finding in printed


def test_paths_bounds_rights_and_required_fields_are_compared_as_well(tmp_path: Path) -> None:
    search, collections = "search_service.proto", "collection_service.proto"
    protos = changed(
        tmp_path,
        (search, "/images:count", "/images:number"),
        (search, "(max_items) = 256\n", "(max_items) = 255\n"),
        (search, "bool merge = 3;", "bool merge = 3 [(google.api.field_behavior) = REQUIRED];"),
        (search, "bool last = 3;", "bool last = 3; bool sure = 4 [(google.api.field_behavior) = REQUIRED];"),
        (search, "ImageView view = 6;", "ImageView view = 6; string hint = 9;"),
        (collections, "(max_bytes) = 1024,", "(max_bytes) = 2048,"),
        (collections, "int32 page_size = 1;", "int32 page_size = 1 [(minimum) = 1, (maximum) = 1000];"),
        (collections, 'right: RIGHT_SEARCH\n      on: ON_EACH', 'right: RIGHT_ADMIN\n      on: ON_EACH'),
    )  # fmt: skip
    assert buf("breaking", protos, "--against", RELEASED) == (0, "")
    built = tmp_path / "contract.binpb"
    assert buf("build", protos, "-o", built) == (0, "")
    assert sorted(breaks(contract(RELEASED), contract(built))) == [
        "CollectionService.ListCollections: callers need other rights",
        "ImageUpdate.merge: is required",
        "ImportImagesRequest.sure: is new and required",
        "ListCollectionsRequest.page_size: maximum is lower",
        "ListCollectionsRequest.page_size: minimum is higher",
        "SearchBatchRequest.queries: max_items is lower",
        "SearchService.CountImages: get /v1/collections/{collection}/images:count > is gone",
    ]
