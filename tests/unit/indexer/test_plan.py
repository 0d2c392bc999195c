"""What a source becomes: the manifest in the artifacts, whatever the source looks like."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from indexer.interruption import Interruption
from indexer.plan import Plan, make_plan
from lookalike.jobs.job import Counts, Job, SourceKind, SourceSpec
from lookalike.jobs.leases import PLAN, Lease
from lookalike.jobs.states import JobState
from lookalike.jobs.uploads import Uploads
from lookalike.sources import Artifacts, Roots


@dataclass
class Planning:
    """A folder `data` that may be read, and artifacts."""

    folder: Path
    heard: list[int] = field(default_factory=list)

    @property
    def artifacts(self) -> Artifacts:
        return Artifacts((self.folder / "artifacts").as_uri())

    def put(self, name: str, content: str | bytes) -> str:
        """A file in `data`; its path."""
        path = self.folder / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    def plan(self, kind: SourceKind, uri: str) -> Plan:
        job = Job(
            "job", "products", "uid", SourceSpec(kind, uri), JobState.PLANNING, Counts(), {}, 0, 0, 1, "r", None,
            datetime.now(UTC), None,
        )  # fmt: skip
        interruption = Interruption(threading.Event(), Lease("job", PLAN, "owner", 1))
        roots = Roots([self.folder / "data"])
        return make_plan(self.artifacts, Uploads(self.artifacts), roots, job, interruption, self.heard.append)


@pytest.fixture
def planning(tmp_path: Path) -> Planning:
    (tmp_path / "data").mkdir()
    return Planning(tmp_path)


def test_a_plan_says_how_far_it_is(planning: Planning) -> None:
    uri = planning.put("m.jsonl", "".join(json.dumps({"uri": f"{n}.png"}) + "\n" for n in range(9000)))
    assert planning.plan("manifest", uri).submitted == 9000
    assert planning.heard == sorted(planning.heard)
    assert len(planning.heard) >= 2
    assert planning.heard[-1] <= 9000
