"""Turns a job's source into its manifest: the items in order, ids final and unique, chunk n = row group n.

Called by `worker` with the plan's lease. Streams: neither the items nor their ids are held in memory. A planner that dies
leaves nothing behind that is read, and the plan is made again from the start.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from indexer.interruption import Interruption
from indexer.planning.seen_ids import SeenIds
from lookalike.artifacts import Artifacts
from lookalike.errors import FailedPrecondition, Unavailable
from lookalike.items import INCOMPLETE_REASONS, LEFT_OUT, Item
from lookalike.jobs.manifest import ManifestWriter
from lookalike.records.job import Job
from lookalike.records.source import Source
from lookalike.sources.web import SOURCE_UNAVAILABLE

SOURCE_EMPTY = "SOURCE_EMPTY"


@dataclass(frozen=True, slots=True)
class Plan:
    """What a source holds. `manifest` is its folder in the artifacts. `submitted` counts duplicates and items left out too, and
    `left_out` the latter, by why they count as skipped. `unidentified` items have no known id, or stand for a part of the
    source that could not be listed and may hold images that no item names."""

    manifest: str
    submitted: int
    duplicates: int
    chunks: int
    unidentified: int
    left_out: Mapping[str, int]


_PROGRESS_EVERY = 4096
"""The items between two reports of progress: a fraction of a second."""


def make_plan(
    artifacts: Artifacts,
    job: Job,
    items: Iterator[Item],
    interruption: Interruption,
    progress: Callable[[int], None] = lambda submitted: None,
) -> Plan:
    """Write the manifest of `job`, whose source holds `items`. Of equal ids the first that can be used wins. `progress` gets
    the number of items so far.

    Raises what `items` raises, `FailedPrecondition` SOURCE_EMPTY, `Unavailable` where the artifacts do not answer, `Draining`,
    `LeaseLost`. Nothing is left behind then.
    """
    # The name is the lease's: a planner that lost its lease cannot write over the manifest that the chunks are counted by.
    path = f"{_folder(job.id)}/manifest-{interruption.lease.owner}"
    writer = ManifestWriter(artifacts, path)
    submitted = duplicates = unidentified = 0
    left_out: Counter[str] = Counter()
    try:
        with SeenIds() as seen:
            for item in items:
                interruption.check()
                submitted += 1
                if submitted % _PROGRESS_EVERY == 0:
                    progress(submitted)
                if item.problem_reason in LEFT_OUT:
                    left_out[LEFT_OUT[item.problem_reason]] += 1
                    continue
                if not item.problem and not seen.add(item.id):
                    duplicates += 1
                    continue
                unidentified += bool(item.problem) and (not item.id or item.problem_reason in INCOMPLETE_REASONS)
                writer.add(item)
        if submitted == left_out.total() and isinstance(job.source, Source):
            # A caller named the source: one without any items is a mistake.
            raise FailedPrecondition(
                f"{job.source.place[:200]!r} holds nothing to ingest{_counted(left_out)}", reason=SOURCE_EMPTY
            )
        artifacts.settle()  # What was copied out of archives is durable before the manifest names it.
        writer.commit()
    except Unavailable as error:
        writer.discard()
        if error.reason != SOURCE_UNAVAILABLE:
            raise
        # The source was asked again and again: a person has to see to it.
        raise FailedPrecondition(error.message, reason=error.reason) from error
    except BaseException:
        writer.discard()
        raise
    return Plan(path, submitted, duplicates, writer.chunks, unidentified, dict(left_out))


def delete_other_plans(artifacts: Artifacts, job_id: str, manifest: str) -> None:
    """Delete the manifests that planners finished after they had lost their lease."""
    for name in artifacts.names(_folder(job_id)):
        path = f"{_folder(job_id)}/{name}"
        if name.startswith("manifest-") and path != manifest:
            artifacts.delete_tree(path)


def _counted(left_out: Counter[str]) -> str:
    reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(left_out.items()))
    return f"; what it has was left out ({reasons})" if left_out else ""


def _folder(job_id: str) -> str:
    return f"jobs/{job_id}"
