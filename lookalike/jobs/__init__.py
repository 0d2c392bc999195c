"""The truth about ingest jobs: the ledger in Redis, and the files that go with it in the artifacts.

    job.py         what a job is, as frozen dataclasses
    states.py      the states of a job and every allowed move, in one table
    ledger.py      create, read, list and cancel jobs; revisions and tombstones. The gateway's side
    leases.py      who works on what; outcomes recorded exactly once. The indexer's side
    connection.py  the only importer of redis: connecting, running scripts, translating errors
    lua/           the scripts; every change of more than one key is one of them
    locks.py       the write lock of a collection
    manifest.py    the items of a job as Parquet, row group n = chunk n
    outcomes.py    what became of items, as Parquet, and reading those that failed a page at a time
    uploads.py     items and originals sent by clients
    creation.py    the one function that makes a job; retrying.py makes one of what failed in another
    queue.py       sends Celery tasks by name

Redis holds per job one hash, at most a window of open chunks, and one short entry per recorded chunk; nothing per item.
"""
