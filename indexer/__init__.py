"""The indexer: a Celery worker that plans ingest jobs and works their chunks off. `python -m indexer` starts one."""
