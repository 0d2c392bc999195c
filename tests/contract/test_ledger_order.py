"""Revisions, tombstones and the write lock: which of two writes wins, on a real Redis."""

from __future__ import annotations

import threading
import time

import pytest

from lookalike.errors import Unavailable
from lookalike.jobs.ledger import Ledger
from lookalike.jobs.locks import write_lock
from tests.contract.ledger_jobs import SOURCE, ledger

__all__ = ["ledger"]


class TestOrderOfWrites:
    def test_revisions_grow_and_do_not_fall_behind_the_clock(self, ledger: Ledger) -> None:
        before_ms = int(time.time() * 1000)
        revisions = [ledger.take_revision("c") for _ in range(50)]
        assert revisions == sorted(set(revisions))
        assert revisions[0] >= before_ms - 1000, "so that a Redis that lost its data does not go back"
        assert ledger.create("c", "u", SOURCE, "r")[0].revision > revisions[-1]

    def test_whether_anything_later_may_have_been_written_is_known(self, ledger: Ledger) -> None:
        job, _ = ledger.create("c", "u", SOURCE, "r")
        assert not ledger.later_revision_taken("c", job.revision)
        assert not ledger.older_job_active("c", job.revision)
        later = ledger.take_revision("c")
        assert ledger.later_revision_taken("c", job.revision)
        assert ledger.older_job_active("c", later)
        ledger.request_cancel(job.id)
        assert not ledger.older_job_active("c", later)

    def test_tombstones_are_kept_as_long_as_an_older_job_could_write(self, ledger: Ledger) -> None:
        ledger.bury("c", ["a"], ledger.take_revision("c"))
        assert ledger.buried("c", ["a"]) == {}, "nobody could write it back"
        first, _ = ledger.create("c", "u", SOURCE, "r1")
        deleted = ledger.take_revision("c")
        ledger.bury("c", ["a", "b"], deleted)
        second, _ = ledger.create("c", "u", SOURCE, "r2")
        assert ledger.buried("c", ["a", "b", "x"]) == {"a": deleted, "b": deleted}
        ledger.bury("c", ["a"], deleted - 1)
        assert ledger.buried("c", ["a"]) == {"a": deleted}, "the later delete counts"
        ledger.request_cancel(second.id)
        assert ledger.buried("c", ["a"]) == {"a": deleted}
        ledger.request_cancel(first.id)
        assert ledger.buried("c", ["a", "b"]) == {}

    def test_a_tombstone_outlives_younger_jobs_only_where_an_older_one_is_unfinished(self, ledger: Ledger) -> None:
        older, _ = ledger.create("c", "u", SOURCE, "r1")
        deleted = ledger.take_revision("c")
        ledger.bury("c", ["a"], deleted)
        ledger.create("c", "u", SOURCE, "r2")
        ledger.request_cancel(older.id)
        assert ledger.buried("c", ["a"]) == {}

    def test_the_write_lock_lets_one_in_at_a_time(self, ledger: Ledger) -> None:
        inside: list[int] = []
        most: list[int] = []

        def write() -> None:
            for _ in range(5):
                with ledger.write_lock("c") as still_held:
                    inside.append(1)
                    most.append(len(inside))
                    assert still_held()
                    inside.pop()

        threads = [threading.Thread(target=write) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (len(most), max(most)) == (40, 1)

    def test_the_write_lock_is_kept_while_held_and_waiting_for_it_ends(self, ledger: Ledger) -> None:
        with ledger.write_lock("c", ttl_s=0.6) as still_held:
            with pytest.raises(Unavailable, match="write lock"), ledger.write_lock("c", timeout_s=1.3):
                pass
            assert still_held()
            with ledger.write_lock("another"):
                pass
        with ledger.write_lock("c", timeout_s=0.1):
            pass

    def test_a_holder_that_was_stopped_for_longer_than_the_locks_life_has_lost_it_for_good(self, ledger: Ledger) -> None:
        now_s = [100.0]
        with write_lock(ledger.connection, "c", timeout_s=1.0, ttl_s=5.0, clock=lambda: now_s[0]) as still_held:
            now_s[0] += 4.9
            assert still_held()
            now_s[0] += 0.2
            assert not still_held()
            now_s[0] -= 5.0
            assert not still_held(), "others may have held it since"

    def test_a_dead_writer_holds_others_up_for_the_locks_life_only(self, ledger: Ledger) -> None:
        ledger.connection.run("lock", "write:c", "dead", 100)
        with ledger.write_lock("c", timeout_s=5):
            pass
