"""A job as Redis holds it: the hash that `lua/create.lua` writes, and the texts in it. The ledger and its scripts use it.

Every text is canonical: the same request gives the same text, also from earlier releases, since repeated request ids compare
texts. Fields of later releases are left out where they have their defaults. A span `NAME` is kept as `NAME_s`, in seconds.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any, TypeVar, get_type_hints

from lookalike.errors import Internal
from lookalike.records.job import (
    DEFAULTS,
    Comparison,
    Counts,
    Forecast,
    Job,
    JobOptions,
    NearDuplicatePolicy,
    Undo,
)
from lookalike.records.job_state import MOVES, JobState
from lookalike.records.source import SOURCES, JobSource

R = TypeVar("R", Forecast, Comparison)

CHUNKS_TOGETHER = 100
"""Bounds the recorded chunks per hash in Redis: up to 128 entries of up to 64 bytes are packed without pointers (its default
`hash-max-listpack-entries`), which takes a quarter of the memory."""
STRETCHES = 120
"""Bounds the stretches of time in each of which a job's items are counted. With the width they are few enough to be packed, as
above. Even: where a job outlives them, two become one."""
FIRST_STRETCH_MS = 1000
STALL_S = 300.0
"""The time without progress after which a job that should be running counts as stalled: no chunk takes minutes."""


def source_text(source: JobSource) -> str:
    """Canonical JSON of `source`, with its place as `uri`, and its exclusions as `choice`."""
    place, *others = fields(source)
    values = {field.name: getattr(source, field.name) for field in others}
    choice = {name: values.pop(name) for name in ("exclude", "include_hidden") if name in values}
    stored = {"kind": source.kind, "uri": str(getattr(source, place.name)), "labels_from_folders": False, **values}
    if any(choice.values()):
        stored["choice"] = choice
    return json.dumps(stored, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def source_of(text: str) -> JobSource:
    """The source that `source_text` wrote. Raises `Internal` for a kind that this release does not know."""
    stored = json.loads(text)
    kind, values = stored.pop("kind"), {**stored.pop("choice", {}), **stored}
    record = SOURCES.get(kind)
    if record is None:
        raise Internal(f"the ledger holds a source of kind {kind!r}, which this version of lookalike does not know")
    place, *others = fields(record)
    known = {field.name: _plain(values[field.name]) for field in others if field.name in values}
    source: JobSource = record(int(values["uri"]) if place.type == "int" else values["uri"], **known)
    return source


def _plain(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def options_text(options: JobOptions) -> str:
    """Canonical JSON of the options that differ from their defaults."""
    defaults = _stored(DEFAULTS)
    differing = {name: value for name, value in _stored(options).items() if value != defaults[name]}
    return json.dumps(differing, sort_keys=True, separators=(",", ":"))


def options_of(text: str) -> JobOptions:
    """The options that `options_text` wrote. Raises `Internal` for an option that this release does not know: to leave it out
    would be another job."""
    stored = json.loads(text)
    policy = NearDuplicatePolicy(stored.pop("near_duplicates", NearDuplicatePolicy.KEEP.value))
    values = _values(JobOptions, stored)
    for name in sorted(values.keys() - {field.name for field in fields(JobOptions)}):
        raise Internal(f"the ledger holds a job with the option {name!r}, which this version of lookalike does not know")
    return JobOptions(policy, **values)


def finding_text(finding: R) -> str:
    """JSON of what a job's last unit found."""
    return json.dumps(_stored(finding))


def finding_of(kind: type[R], text: str) -> R:
    """The finding that `finding_text` wrote, in this release or in another: fields that `kind` does not have are left out."""
    known = {field.name for field in fields(kind)}
    return kind(**{name: value for name, value in _values(kind, json.loads(text)).items() if name in known})


def request_fingerprint(collection: str, source: JobSource, options: JobOptions = DEFAULTS) -> str:
    """16 hex digits over the content of a request, which distinguish a repeated request from a reused request id."""
    return hashlib.sha256(f"{collection}\n{source_text(source)}\n{options_text(options)}".encode()).hexdigest()[:16]


def job_of(job_id: str, stored: Mapping[str, str], *, stalled_before_ms: int = 0) -> Job:
    """The job whose hash is `stored`. The job is stalled where its last progress lies before `stalled_before_ms`."""
    state, paused = JobState[stored["state"]], "paused" in stored
    counts = Counts(*(int(stored[name]) for name in ("submitted", "indexed", "skipped", "failed")))
    left = max(counts.submitted - counts.done, 0)
    return Job(
        id=job_id,
        collection=stored["collection"],
        collection_uid=stored["collection_uid"],
        source=source_of(stored["source"]),
        state=state,
        counts=counts,
        skip_reasons={key[len("skip:") :]: int(value) for key, value in stored.items() if key.startswith("skip:")},
        chunks_total=int(stored["chunks_total"]),
        chunks_done=int(stored["chunks_done"]),
        revision=int(stored["revision"]),
        request_id=stored["request_id"],
        error=stored.get("error_message", ""),
        error_reason=stored.get("error_reason", ""),
        create_time=_moment(stored["created_ms"]),
        end_time=_moment(stored["ended_ms"]) if "ended_ms" in stored else None,
        manifest=stored.get("manifest", ""),
        options=options_of(stored.get("options", "{}")),
        paused=paused,
        stalled=not (state.ended or paused) and int(stored.get("progress_ms", stored["created_ms"])) < stalled_before_ms,
        listed=int(stored.get("listed", 0)),
        comparison=finding_of(Comparison, stored["comparison"]) if "comparison" in stored else None,
        unidentified=int(stored.get("unidentified", 0)),
        deleted=int(stored.get("deleted", 0)),
        forecast=finding_of(Forecast, stored["forecast"]) if "forecast" in stored else None,
        held=stored.get("held", ""),
        forced="forced" in stored,
        # Each try of an item within its chunk counts it again.
        worked=min(int(stored.get("worked", 0)), left),
        undo=Undo(int(stored.get("undone", 0)), _moment(stored["undone_ms"])) if "undone_ms" in stored else None,
        trace=stored.get("trace", ""),
    )


def moves_as_lua() -> str:
    """`MOVES` as a Lua expression: `{PENDING={PLANNING=true, ...}, ...}`."""
    rows = (
        f"{state.name}={{{', '.join(f'{to.name}=true' for to in sorted(allowed, key=lambda s: s.name))}}}"
        for state, allowed in MOVES.items()
    )
    return "{" + ", ".join(rows) + "}"


def _stored(record: JobOptions | Forecast | Comparison) -> dict[str, object]:
    """The fields of `record` as JSON has them."""
    stored: dict[str, object] = {}
    for field in fields(record):
        match value := getattr(record, field.name):
            case timedelta():
                stored[f"{field.name}_s"] = value.total_seconds()
            case Enum():
                stored[field.name] = value.value
            case _:
                stored[field.name] = value
    return stored


def _values(kind: type[JobOptions | Forecast | Comparison], stored: Mapping[str, Any]) -> dict[str, Any]:
    """What `_stored` gave, as the fields of `kind`; members of enums stay as they are."""
    spans = {f"{name}_s": name for name, hint in get_type_hints(kind).items() if hint is timedelta}
    return {spans.get(name, name): timedelta(seconds=value) if name in spans else value for name, value in stored.items()}


def _moment(milliseconds: str) -> datetime:
    return datetime.fromtimestamp(int(milliseconds) / 1000, UTC)
