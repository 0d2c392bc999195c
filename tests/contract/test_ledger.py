"""What the ledger promises to those who make jobs and look at them, on a real Redis."""

from __future__ import annotations

import threading

import pytest

from lookalike.errors import FailedPrecondition, InvalidArgument, NotFound, Unavailable
from lookalike.jobs.connection import RedisAccessDenied
from lookalike.jobs.ledger import Ledger, connect_ledger
from lookalike.records.job import Counts, Job
from lookalike.records.job_state import JobState
from lookalike.records.source import FolderSource
from tests.contract.ledger_jobs import SOURCE, ledger
from tests.servers.processes import until

__all__ = ["ledger"]


class TestCreating:
    def test_a_new_job_is_pending_and_shows_what_was_asked_for(self, ledger: Ledger) -> None:
        job, new = ledger.create("products", "uid", SOURCE, "r1")
        assert new
        assert (job.collection, job.collection_uid, job.source, job.request_id) == ("products", "uid", SOURCE, "r1")
        assert job.state is JobState.PENDING
        assert job.counts == Counts()
        assert job.error == ""
        assert job.end_time is None
        assert ledger.get(job.id) == job

    def test_the_same_request_gives_the_same_job_and_another_is_refused(self, ledger: Ledger) -> None:
        job, _ = ledger.create("products", "uid", SOURCE, "r1")
        again, new = ledger.create("products", "another uid", SOURCE, "r1")
        assert (again.id, new) == (job.id, False)
        assert ledger.find_request("r1", "products", SOURCE) == job
        assert ledger.find_request("r2", "products", SOURCE) is None
        for collection, source in (("other", SOURCE), ("products", FolderSource("/data/products"))):
            with pytest.raises(FailedPrecondition) as refused:
                ledger.create(collection, "uid", source, "r1")
            assert refused.value.reason == "REQUEST_ID_REUSED"
            with pytest.raises(FailedPrecondition):
                ledger.find_request("r1", collection, source)

    def test_many_callers_at_once_with_one_request_id_make_one_job(self, ledger: Ledger) -> None:
        made: list[tuple[Job, bool]] = []
        threads = [threading.Thread(target=lambda: made.append(ledger.create("c", "u", SOURCE, "same"))) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len({job.id for job, _ in made}) == 1
        assert [new for _, new in made].count(True) == 1

    def test_what_does_not_exist_is_not_found(self, ledger: Ledger) -> None:
        with pytest.raises(NotFound, match="ingest job 'nope'"):
            ledger.get("nope")
        with pytest.raises(NotFound):
            ledger.request_cancel("nope")

    def test_a_redis_that_is_away_is_unavailable(self) -> None:
        with pytest.raises(Unavailable, match="redis"):
            connect_ledger("redis://127.0.0.1:1/0")

    def test_a_url_that_cannot_be_one_is_refused_and_not_waited_for(self) -> None:
        with pytest.raises(InvalidArgument, match="redis_url"):
            connect_ledger("127.0.0.1:6379")

    def test_a_wrong_password_is_said(self, redis_db: str, ledger: Ledger) -> None:
        with ledger.connection.commands() as client:
            client.acl_setuser("somebody", enabled=True, passwords=["+right"], categories=["+@all"], keys=["*"])
        connect_ledger(redis_db.replace("//", "//somebody:right@")).close()
        with pytest.raises(RedisAccessDenied, match="refuses the password") as refused:
            connect_ledger(redis_db.replace("//", "//somebody:wrong@"))
        assert refused.value.reason == "REDIS_ACCESS_DENIED"
        assert "wrong" not in refused.value.message


class TestListing:
    def test_jobs_come_newest_first_page_by_page(self, ledger: Ledger) -> None:
        ids = [ledger.create("a" if n % 2 else "b", "u", SOURCE, f"r{n}")[0].id for n in range(7)]
        seen: list[str] = []
        token = ""
        while True:
            page, token = ledger.list(None, 3, token)
            assert len(page) <= 3
            seen += [job.id for job in page]
            if not token:
                break
        assert seen == ids[::-1]
        assert [job.id for job in ledger.list("a", 10, "")[0]] == ids[1::2][::-1]
        assert ledger.list("none", 10, "") == ([], "")

    def test_the_last_page_has_no_token_even_when_it_is_full(self, ledger: Ledger) -> None:
        for n in range(4):
            ledger.create("c", "u", SOURCE, f"r{n}")
        _, token = ledger.list(None, 2, "")
        page, token = ledger.list(None, 2, token)
        assert (len(page), token) == (2, "")

    @pytest.mark.parametrize(("size", "token"), [(0, ""), (1001, ""), (5, "x"), (5, "-1"), (5, "1" * 40)])
    def test_bad_pages_are_refused(self, ledger: Ledger, size: int, token: str) -> None:
        with pytest.raises(InvalidArgument):
            ledger.list(None, size, token)

    def test_no_other_key_of_a_job_is_taken_for_a_job(self, ledger: Ledger) -> None:
        job, _ = ledger.create("c", "u", SOURCE, "r")
        for name in (f"{job.id}:units", f"{job.id}:open", f"{job.id}:recorded:0", f"{job.id}\n", ""):
            assert ledger.find(name) is None
            with pytest.raises(NotFound):
                ledger.get(name)

    def test_jobs_past_their_retention_vanish_from_lists_and_can_be_forgotten(self, redis_db: str) -> None:
        ledger = connect_ledger(redis_db, retention_s=0.05)
        old, _ = ledger.create("c", "u", SOURCE, "old")
        ledger.request_cancel(old.id)
        new, _ = ledger.create("c", "u", SOURCE, "new")
        until(lambda: ledger.expired() == [old.id], "the ended job is no longer kept")
        assert [job.id for job in ledger.list(None, 1, "")[0]] == [new.id]
        ledger.forget([old.id])
        assert ledger.expired() == []
        assert ledger.create("other", "u", SOURCE, "old")[1], "its request id can be used again"
