"""What a chunk does with images that are there already, and with those that look almost like another one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from lookalike.errors import Unavailable
from lookalike.records.job import Counts, Job, JobOptions, NearDuplicatePolicy
from lookalike.records.source import JobSource, ManifestSource
from tests.unit.indexer.conftest import Bench

SKIP = JobOptions(near_duplicates=NearDuplicatePolicy.SKIP, threshold=0.99)
LINK = JobOptions(near_duplicates=NearDuplicatePolicy.LINK, threshold=0.99)


def manifest(bench: Bench, *lines: str) -> JobSource:
    """Each line is `name,id,label`; the file is written unless it is there."""
    for line in lines:
        name = line.split(",")[0]
        if not (bench.folder / "data" / name).exists():
            bench.put(name, name.removesuffix(".png").encode())
    path = bench.put("m.csv", ("uri,id,label\n" + "\n".join(lines) + "\n").encode())
    return ManifestSource(str(path))


def run(bench: Bench, *lines: str, options: JobOptions = JobOptions()) -> Job:  # noqa: B008 - frozen
    return bench.run(bench.create(manifest(bench, *lines), options=options))


def to_its_end(bench: Bench, job: Job) -> Job:
    """Deliver, and send its one chunk again where that was given back."""
    while not bench.run(job).state.ended:
        bench.queue.send_chunk(job.id, 0)
    return bench.ledger.get(job.id)


def metadata(bench: Bench) -> dict[str, dict[str, object]]:
    """By id; asserts that all spaces say the same."""
    of_spaces = [{i: dict(row.metadata) for i, row in rows.items()} for rows in bench.store.rows.values()]
    assert of_spaces[0] == of_spaces[1]
    return of_spaces[0]


def links(bench: Bench) -> dict[str, object]:
    return {i: of["near_duplicate_of"] for i, of in metadata(bench).items() if "near_duplicate_of" in of}


class TestSameBytes:
    def test_changed_metadata_is_written_with_the_vectors_that_are_there(self, bench: Bench) -> None:
        first = run(bench, "coat.png,a,Coat", "hat.png,b,Hat")
        vectors = {space: rows["a"].vectors[space].tolist() for space, rows in bench.store.rows.items()}
        again = run(bench, "coat.png,a,Jacket", "hat.png,b,Hat")
        assert (again.counts, again.skip_reasons) == (Counts(2, 1, 1), {"unchanged": 1})
        assert len(bench.embedder.calls) == 1, "nothing is embedded twice"
        assert {i: of["label"] for i, of in metadata(bench).items()} == {"a": "Jacket", "b": "Hat"}
        for space, rows in bench.store.rows.items():
            assert rows["a"].vectors[space].tolist() == vectors[space]
            assert (rows["a"].revision, rows["b"].revision) == (again.revision, first.revision)

    def test_changed_bytes_are_embedded_again(self, bench: Bench) -> None:
        run(bench, "coat.png,a,Coat")
        bench.put("coat.png", b"dress")
        assert run(bench, "coat.png,a,Coat").counts == Counts(1, 1)
        assert bench.embedder.calls == [[b"coat"], [b"dress"]]

    def test_a_half_written_image_is_embedded_again(self, bench: Bench) -> None:
        run(bench, "coat.png,a,Coat")
        del bench.store.rows["siamese"]["a"]
        assert run(bench, "coat.png,a,Coat").counts == Counts(1, 1)
        assert len(bench.embedder.calls) == 2
        assert bench.store.ids() == {"a"}

    def test_while_an_older_job_may_still_write_the_same_is_written_again_but_not_embedded(self, bench: Bench) -> None:
        run(bench, "coat.png,a,Coat")
        older = bench.create(manifest(bench, "coat.png,a,Coat"))
        bench.queue.sent.clear()
        newer = run(bench, "coat.png,a,Coat")
        assert newer.counts == Counts(1, 1)
        bench.queue.send_plan(older.id)
        assert bench.run(older).skip_reasons == {"unchanged": 1}
        assert bench.store.rows["siamese"]["a"].revision == newer.revision
        assert len(bench.embedder.calls) == 1

    def test_an_image_replaced_while_its_chunk_is_read_is_done_again(self, bench: Bench) -> None:
        run(bench, "coat.png,a,Coat", "hat.png,b,Hat")
        stored = {space: rows["a"] for space, rows in bench.store.rows.items()}

        def replaced(call: int) -> None:
            for space, row in stored.items() if call == 2 else ():
                bench.store.rows[space]["a"] = replace(row, sha256="0" * 64)

        bench.embedder.during = replaced
        bench.put("hat.png", b"cap")
        job = to_its_end(bench, bench.create(manifest(bench, "coat.png,a,Jacket", "hat.png,b,Hat")))
        assert job.counts == Counts(2, 2)
        assert bench.embedder.calls[1:] == [[b"cap"], [b"coat", b"cap"]]
        assert bench.store.rows["siamese"]["a"].sha256 == stored["siamese"].sha256

    def test_what_is_written_under_one_id_twice_in_a_source_is_written_once(self, bench: Bench) -> None:
        job = run(bench, "coat.png,a,First", "hat.png,a,Second", "coat.png,b,Third")
        assert job.skip_reasons == {"duplicate": 1}
        assert {i: of["label"] for i, of in metadata(bench).items()} == {"a": "First", "b": "Third"}


class TestNearDuplicates:
    def test_by_default_they_are_kept(self, bench: Bench) -> None:
        assert run(bench, "coat+1.png,a,x", "coat+22.png,b,x").counts == Counts(2, 2)
        assert links(bench) == {}

    def test_skipped_are_those_of_the_collection_and_of_the_chunk(self, bench: Bench) -> None:
        run(bench, "coat+1.png,a,x")
        job = run(bench, "coat+22.png,b,x", "hat+1.png,c,x", "hat+22.png,d,x", "dress.png,e,x", options=SKIP)
        assert (job.counts, job.skip_reasons) == (Counts(4, 2, 2), {"near_duplicate": 2})
        assert bench.store.ids() == {"a", "c", "e"}

    def test_linked_are_those_of_the_collection_and_of_the_chunk_and_again_they_are_unchanged(self, bench: Bench) -> None:
        run(bench, "coat+1.png,a,x")
        lines = ("coat+22.png,b,x", "hat+1.png,c,x", "hat+22.png,d,x", "hat+333.png,e,x", "dress.png,f,x")
        assert run(bench, *lines, options=LINK).counts == Counts(5, 5)
        assert links(bench) == {"b": "a", "d": "c", "e": "d"}, "the nearest, which may be linked itself"
        for options in (LINK, JobOptions()):
            assert run(bench, *lines, options=options).skip_reasons == {"unchanged": 5}
        renamed = run(bench, "coat+22.png,b,new label", options=JobOptions())
        assert renamed.counts == Counts(1, 1)
        assert metadata(bench)["b"] == {"label": "new label", "near_duplicate_of": "a"}

    def test_an_image_is_no_near_duplicate_of_what_it_replaces(self, bench: Bench) -> None:
        run(bench, "coat+1.png,a,x", "hat+1.png,b,x")
        bench.put("coat+1.png", b"coat+22")
        job = run(bench, "coat+1.png,a,x", options=SKIP)
        assert (job.counts.indexed, bench.store.rows["siamese"]["a"].revision) == (1, job.revision)

    def test_what_is_being_replaced_is_compared_with_as_it_will_be(self, bench: Bench) -> None:
        run(bench, "coat.png,a,x")
        bench.put("coat.png", b"hat+1")
        job = run(bench, "hat+22.png,c,x", "coat+1.png,d,x", "coat.png,a,x", options=SKIP)
        assert job.skip_reasons == {"near_duplicate": 1}
        assert bench.store.ids() == {"a", "d"}, "c looks like the new a, d like the old one only"

    def test_a_link_that_does_not_fit_fails_its_item_alone_and_a_sources_own_link_stays(self, bench: Bench) -> None:
        for name in ("coat+1", "coat+22", "coat+333"):
            bench.put(f"{name}.png", name.encode())
        lines = [
            '{"uri": "coat+1.png", "id": "a"}',
            '{"uri": "coat+22.png", "id": "b", "text": "%s"}' % ("x" * 16_365),
            '{"uri": "coat+333.png", "id": "c", "near_duplicate_of": "mine"}',
        ]
        path = bench.put("m.jsonl", "\n".join(lines).encode())
        job = bench.run(bench.create(ManifestSource(str(path)), options=LINK))
        assert job.counts == Counts(3, 2, 0, 1)
        (failure,) = bench.failures(job)
        assert failure.id == "b"
        assert "no room for near_duplicate_of" in failure.message
        assert links(bench) == {"c": "mine"}

    @pytest.mark.parametrize("options", [SKIP, LINK])
    @pytest.mark.parametrize("written", [(), ("histogram",), ("histogram", "siamese")])
    def test_a_chunk_done_again_after_a_kill_comes_to_the_same(
        self, bench: Bench, tmp_path: Path, options: JobOptions, written: tuple[str, ...]
    ) -> None:
        """The first attempt dies after it has written to `written`, before it has recorded anything."""
        lines = ("coat+1.png,a,x", "coat+22.png,b,x", "hat.png,c,x")
        run(bench, *lines, options=options)
        expected, expected_links = bench.store.ids(), links(bench)
        for rows in bench.store.rows.values():
            rows.clear()
        job = bench.create(manifest(bench, *lines), options=options)
        assert bench.deliver()
        died = Unavailable("milvus", "killed")

        def dying(collection: object, images: object, _: object) -> None:
            for space in written:
                bench.store.rows[space].update({image.id: image for image in images})  # type: ignore[attr-defined]
            raise died

        upsert, bench.store.upsert = bench.store.upsert, dying  # type: ignore[method-assign, assignment]
        while bench.deliver():
            pass
        bench.store.upsert = upsert  # type: ignore[method-assign]
        job = to_its_end(bench, job)
        assert job.counts.indexed == len(expected)
        assert (bench.store.ids(), links(bench)) == (expected, expected_links)

    def test_what_a_killed_attempt_half_wrote_goes_where_its_original_came_in_between(self, bench: Bench) -> None:
        job = bench.create(manifest(bench, "coat+1.png,a,x"), options=SKIP)
        bench.deliver()
        bench.queue.sent.clear()
        bench.run(bench.create(manifest(bench, "coat+22.png,other,x")))
        other = bench.store.rows["histogram"]["other"]
        bench.store.rows["histogram"]["a"] = replace(other, id="a", revision=job.revision)
        job = to_its_end(bench, job)
        assert job.skip_reasons == {"near_duplicate": 1}
        assert bench.store.ids() == {"other"}
