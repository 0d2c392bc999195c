"""The last unit of a re-embedding: see that nothing is missing, compare the generations, switch. Called by `worker`.

After a kill the unit is done again from the start, which changes nothing that was done: until the switch the collection is as
it was, and after it there is nothing left to do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

import structlog

from indexer.interruption import Interruption
from indexer.reembedding.chunks import Rows, current_row, is_filled
from indexer.reembedding.comparison import Sample, compare
from indexer.reembedding.generations import Generations
from lookalike.errors import FailedPrecondition, LeaseLost
from lookalike.jobs.leases import Lease, Leases
from lookalike.jobs.stored_job import finding_text
from lookalike.names import MAX_PAGE_SIZE
from lookalike.records.collection import Collection
from lookalike.records.image import StoredImage
from lookalike.records.job import Comparison, Job
from lookalike.records.source import CollectionSource
from lookalike.store.generations import is_filled_by, is_switched_by
from lookalike.store.protocols import Vectors
from lookalike.writes import JOB_LOCK_TIMEOUT_S, Writes

_NAMED = 3
"""The missing images that the error of a job names; the list of its failures has them all."""


@dataclass
class Seen:
    """The result of a look through both generations."""

    sample: Sample = field(default_factory=Sample)
    missing: int = 0
    first_missing: list[str] = field(default_factory=list)


class Finish:
    """Thread-safe."""

    def __init__(
        self,
        leases: Leases,
        writes: Writes,
        store: Vectors,
        generations: Generations,
        *,
        store_timeout_s: float,
    ) -> None:
        self._leases, self._writes, self._store = leases, writes, store
        self._generations, self._store_timeout_s = generations, store_timeout_s

    def run(self, job: Job, collection: Collection, lease: Lease, interruption: Interruption) -> None:
        """Switch `collection` to the generation that `job` has filled, and record that.

        Raises `FailedPrecondition` REEMBED_INCOMPLETE where images are missing in it and the job does not allow that, or
        REEMBED_GONE; `LeaseLost` also where the job is held, because the new generation measured worse; `NotFound`
        ("collection"), `TRANSIENT` errors, `Draining`.
        """
        if is_filled_by(collection, job.id):
            collection = self._check_and_switch(job, collection, lease, interruption)
        elif not is_switched_by(collection, job.id) and job.source != CollectionSource(collection.generation):
            problem = f"collection {collection.name!r} has no generation that job {job.id!r} fills"
            raise FailedPrecondition(problem, reason="REEMBED_GONE")
        if job.options.allow_missing and is_switched_by(collection, job.id):
            # Missing images are no longer in the collection, but would still be found in a space that both generations share.
            self._look_through(collection, lease, interruption)
        if not self._leases.finished(lease):
            raise LeaseLost("the last unit has been recorded by another worker, or the job was stopped")

    def _check_and_switch(self, job: Job, collection: Collection, lease: Lease, interruption: Interruption) -> Collection:
        self._store.flush(collection)
        seen = self._look_through(collection, lease, interruption)
        comparison = compare(self._store, collection, seen.sample.ids, timeout_s=self._store_timeout_s)
        if comparison is not None and not self._leases.note(lease, comparison=finding_text(comparison)):
            raise LeaseLost("the lease went to another worker before the switch")
        if seen.missing and not job.options.allow_missing:
            raise _incomplete(job, seen)
        if comparison is not None and comparison.worse and not (job.options.force or job.forced):
            self._hold(job, lease, comparison)
        now = self._generations.switch(job, lease)
        structlog.get_logger().info("switched", job=job.id, collection=now.name, generation=now.generation)
        return now

    def _hold(self, job: Job, lease: Lease, comparison: Comparison) -> None:
        """Leave to a person whether to switch to a worse generation. Raises `LeaseLost`: nothing more is to be done for now."""
        why = (
            f"the new generation measured itself worse: of the {comparison.k} nearest of labelled images in "
            f"{comparison.space}, {comparison.precision_after:.1%} have the same label, and {comparison.precision_before:.1%} "
            "before; resume the job to switch nevertheless, or cancel it to drop what it made"
        )
        if self._leases.hold(lease, why):
            structlog.get_logger().warning("held, measured worse", job=job.id, collection=job.collection)
            raise LeaseLost("the job waits for a person")
        raise LeaseLost("the lease went to another worker before the switch")

    def _look_through(self, collection: Collection, lease: Lease, interruption: Interruption) -> Seen:
        """Compare both generations image by image, and take out of both the images that the current one does not have whole."""
        seen = Seen()

        def shown(page: Sequence[StoredImage]) -> None:
            self._leases.note(lease)
            for image in page:
                seen.sample.add(image.id)

        other = self._revisions(collection.as_other(), lambda _: None)
        differing = _differing(self._revisions(collection, shown), other, interruption)
        while ids := list(islice(differing, MAX_PAGE_SIZE)):
            self._settle(collection, lease, ids, seen)
        return seen

    def _revisions(self, collection: Collection, shown: Callable[[Sequence[StoredImage]], None]) -> Iterator[tuple[str, int]]:
        """Ids and revisions of all images of one generation, in order of id; `shown` sees every page."""
        for page in self._generations.pages(collection):
            shown(page)
            for image in page:
                yield image.id, image.revision

    def _settle(self, collection: Collection, lease: Lease, ids: Sequence[str], seen: Seen) -> None:
        """Look again at images that differ, under the lock, under which they do not change.

        An image that the current generation does not have whole is that of a delete or a first write that a kill interrupted.
        It is taken out, since the switch would show it. (An interrupted chunk is done again, and writes the image anew.)
        """
        with self._writes.session(
            collection.name, embedded_for=collection, lease=lease, timeout_s=JOB_LOCK_TIMEOUT_S
        ) as session:
            rows = self._store.get_by_space(collection, ids, timeout_s=self._store_timeout_s)
            gone = [image_id for image_id, of_id in rows.items() if current_row(collection, of_id) is None]
            session.remove_half_written(gone, timeout_s=self._store_timeout_s)
        missing = [image_id for image_id, of_id in rows.items() if _is_missing(collection, of_id)]
        seen.missing += len(missing)
        seen.first_missing += missing[: _NAMED - len(seen.first_missing)]


def _is_missing(collection: Collection, rows: Rows) -> bool:
    current = current_row(collection, rows)
    return current is not None and not is_filled(collection, rows, current)


def _differing(
    current: Iterator[tuple[str, int]], other: Iterator[tuple[str, int]], interruption: Interruption
) -> Iterator[str]:
    """Ids that are in one of two sorted lists only, or that have a higher revision in the first."""
    one, two = next(current, None), next(other, None)
    while one is not None or two is not None:
        interruption.check()
        if one is not None and two is not None and one[0] == two[0]:
            if one[1] > two[1]:
                yield one[0]
            one, two = next(current, None), next(other, None)
        elif one is not None and (two is None or one[0] < two[0]):
            yield one[0]
            one = next(current, None)
        elif two is not None:
            yield two[0]
            two = next(other, None)


def _incomplete(job: Job, seen: Seen) -> FailedPrecondition:
    named = ", ".join(map(repr, seen.first_missing)) + (", ..." if seen.missing > len(seen.first_missing) else "")
    return FailedPrecondition(
        f"{seen.missing} of {job.counts.submitted} images could not be embedded again ({named}; the failures of job {job.id!r} "
        "say why), so nothing was switched; ingest or delete them and re-embed again, or allow them to be missing",
        reason="REEMBED_INCOMPLETE",
    )
