"""The Celery app and its tasks: the only place that knows Celery, besides `lookalike.jobs.queue`, which sends by name.

    lookalike.create_ingest_job(request)   for plain Celery producers; see `lookalike.jobs.creation.create_job_of_json`
    lookalike.plan(job_id)                 read the source into a manifest
    lookalike.ingest_chunk(job_id, chunk)  work one chunk off
    lookalike.finish(job_id)               do what is left when all chunks are recorded

A plain producer needs the broker's key prefix and the queue's name, and nothing of Lookalike installed:

    app = Celery(broker="redis://...")
    app.conf.broker_transport_options = {"global_keyprefix": "lookalike:celery:"}
    app.send_task("lookalike.create_ingest_job", [request], queue="lookalike")

Messages are JSON and carry references only. They are acknowledged late and may come twice: the ledger's leases make that
harmless. Retries of a plan or a chunk are the ledger's too: a unit given back is due again after a growing, random wait, so
that no outage makes a storm. A create that meets an outage has no ledger entry yet, so Celery retries it. The message is
sent anew with a growing, random countdown of at most a minute, which the worker that fetches it waits out before it runs it.
The pool has threads, not processes: the work is waiting for others, and a kill takes all of it.

A worker holds as many messages as it has threads (late acknowledgement, prefetch 1), so the others wait in Redis for a free
worker. The ledger bounds how much waits there, since it hands out a window of chunks. Two queues decide which task comes first:
see `lookalike.jobs.queue.FIRST_QUEUE`.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable
from typing import Any

import structlog
from celery import Celery, Task
from celery.exceptions import CPendingDeprecationWarning, Reject
from celery.signals import setup_logging, worker_shutting_down
from kombu.transport import redis as redis_transport
from kombu.transport import virtual

from indexer.celery_logs import cut_celery_logs
from indexer.interruption import TRANSIENT
from indexer.worker import Worker
from lookalike.errors import LookalikeError
from lookalike.jobs.queue import CHUNK_TASK, CREATE_TASK, FINISH_TASK, FIRST_QUEUE, PLAN_TASK, QUEUE, broker_settings
from lookalike.runtime.redis_access import RedisAccess

_CREATE_RETRY_CAP_S = 60.0
_LOGGED_ID = 128
"""The characters of an id that are logged: as many as a valid request id has at most."""


def build_app(access: RedisAccess, worker: Worker) -> Celery:
    """The app whose tasks call `worker`."""
    # Set on Celery's own transport: Celery forgets which transport it was given when it goes from one Sentinel to the next.
    redis_transport.Channel.QoS = _QoS
    app = Celery("lookalike", set_as_current=False)
    app.conf.update(
        **broker_settings(access),
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        # A Redis that answers with an error, being full or a primary no more, is waited for like one that is away.
        broker_channel_error_retry=True,
        accept_content=["json"],
        task_serializer="json",
        task_default_queue=QUEUE,
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        result_backend=None,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
    )
    _register(app, worker)
    return app


def run_worker(app: Celery, *, concurrency: int, on_stopping: Callable[[], None]) -> int:
    """Work until SIGTERM or SIGINT; returns the exit code. `on_stopping` is called when the signal comes."""

    def stopping(**_: object) -> None:
        on_stopping()

    worker_shutting_down.connect(stopping, weak=False)
    # An answer to this signal keeps Celery from setting up logging, which would silence the product's lines below a warning.
    setup_logging.connect(_keep_our_logging, weak=False)
    cut_celery_logs()
    # About what a later Celery will do when it loses a connection.
    warnings.filterwarnings("ignore", category=CPendingDeprecationWarning)
    # Gossip, mingle and heartbeat are talk between workers; these know of each other through the ledger.
    celery_worker = app.Worker(
        pool="threads",
        concurrency=concurrency,
        queues=[FIRST_QUEUE, QUEUE],
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
        loglevel="WARNING",
        quiet=True,
    )
    celery_worker.start()
    return int(celery_worker.exitcode or 0)


def _keep_our_logging(**_: object) -> None:
    return


class _QoS(redis_transport.QoS):
    """Celery's account of the messages that a worker holds: a message whose acknowledgement fails gives its place back too.

    Celery's own account keeps the place until the worker connects anew. But a worker without a free place asks Redis for
    nothing, and so never finds out that it has to: after an outage while all its threads were at work, no message would come
    any more. The message itself comes again, to no effect.
    """

    def ack(self, delivery_tag: str) -> None:
        try:
            super().ack(delivery_tag)  # type: ignore[no-untyped-call]
        except BaseException:
            virtual.QoS.ack(self, delivery_tag)  # type: ignore[no-untyped-call]
            raise

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        try:
            super().reject(delivery_tag, requeue)  # type: ignore[no-untyped-call]
        except BaseException:
            virtual.QoS.ack(self, delivery_tag)  # type: ignore[no-untyped-call]
            raise


def _register(app: Celery, worker: Worker) -> None:
    # Not shared: the tasks of one app are not to call the worker of another.
    @app.task(name=PLAN_TASK, shared=False)  # type: ignore[untyped-decorator]
    def plan(job_id: str) -> None:
        _guarded(worker, lambda: worker.plan(str(job_id)), job=_shown(job_id))

    @app.task(name=CHUNK_TASK, shared=False)  # type: ignore[untyped-decorator]
    def ingest_chunk(job_id: str, chunk: int) -> None:
        _guarded(worker, lambda: worker.ingest_chunk(str(job_id), int(chunk)), job=_shown(job_id), chunk=chunk)

    @app.task(name=FINISH_TASK, shared=False)  # type: ignore[untyped-decorator]
    def finish(job_id: str) -> None:
        _guarded(worker, lambda: worker.finish(str(job_id)), job=_shown(job_id))

    @app.task(name=CREATE_TASK, bind=True, max_retries=None, shared=False)  # type: ignore[untyped-decorator]
    def create(task: Task, request: dict[str, Any]) -> None:
        _create(worker, task, request)


def _create(worker: Worker, task: Task, request: dict[str, Any]) -> None:
    """Create the job of a message. No caller waits for an answer, so the log has what becomes of a request, by its own id."""
    request_id = _shown(request.get("request_id", "")) if isinstance(request, dict) else ""
    log = structlog.get_logger().bind(request_id=request_id)
    try:
        job = worker.create(request)
        log.info("ingest job made", job=job.id, collection=job.collection)
    except TRANSIENT as error:
        # This message is all there is of the job: it is kept until the ledger has the job.
        wait_s = min(_CREATE_RETRY_CAP_S, 2.0 ** min(task.request.retries, 6)) * random.uniform(0.5, 1.0)  # noqa: S311
        log.warning("ingest job not made yet", after_s=round(wait_s, 1), problem=error.message)
        raise task.retry(exc=error, countdown=wait_s) from error
    except LookalikeError as error:
        log.warning("ingest job refused", reason=error.reason, field=error.field, problem=error.message)
    except Exception:
        log.exception("ingest job refused")


def _shown(id_: object) -> str:
    """An id as a message has it, cut: any client may have written the message."""
    return str(id_)[:_LOGGED_ID]


def _guarded(worker: Worker, work: Callable[[], None], **names: object) -> None:
    """The edge: whatever happens, the worker lives on, and the ledger sends the unit again when its lease runs out. A message
    that this worker fetched and will not work on goes back to the queue."""
    if worker.draining.is_set():
        raise Reject("the worker is stopping", requeue=True)
    log = structlog.get_logger().bind(**names)
    try:
        work()
    except LookalikeError as error:
        log.warning("task not done", reason=error.reason, problem=error.message)
    except Exception:
        log.exception("task broke down")
