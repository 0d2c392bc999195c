"""The truth about ingest jobs: the ledger in Redis, and the files that go with it in the artifacts.

    ledger.py      create, read, list and cancel jobs; revisions and tombstones. The gateway's side
    leases.py      leases of units of work; outcomes recorded exactly once. The indexer's side
    connection.py  the only importer of redis: connecting, running scripts, translating errors
    lua/           the scripts; every change of more than one key is one of them
    locks.py       the write lock of a collection
    manifest.py    the items of a job as Parquet, row group n = chunk n
    outcomes.py    outcomes of items, as Parquet, and failures read a page at a time
    uploads.py     items and originals sent by clients
    creation.py    the one function that makes a job; retrying.py makes a job of the failed items of another
    queue.py       sends Celery tasks by name
    pages.py       lists of jobs, a page at a time; report.py has the report of a job
    stored_job.py  a job as its hash in Redis; suspects.py has the pictures that may end the embedder

Redis holds per job one hash, at most a window of open chunks, and one short entry per recorded chunk; nothing per item.
"""
