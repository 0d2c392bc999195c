"""Sends Celery tasks by name. The gateway calls it (through `creation`), and the indexer, whose app takes the same options.

The broker is the ledger's Redis, under its own key prefix. It only carries messages. A message that is lost, late or delivered
twice does no harm, since the ledger has the work and sends it again.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from celery import Celery
from kombu.exceptions import KombuError, OperationalError

from lookalike.errors import Unavailable, one_line
from lookalike.jobs.connection import as_ours, certificate_options, sentinel_options
from lookalike.runtime.redis_access import RedisAccess, Sentinels

QUEUE = "lookalike"
FIRST_QUEUE = "lookalike.first"
"""Plans, last units, and the first chunks of every job. Workers take from both queues in turn, so a job of a thousand images
does not wait behind the queued chunks of one of a million, and a stream of small jobs leaves every other turn to the large one.
Within a queue jobs share too: each has a window of chunks in it, refilled at its end."""
FIRST_CHUNKS = 4
"""Bounds the first chunks of a job, to 1,024 images."""
PLAN_TASK = "lookalike.plan"
CHUNK_TASK = "lookalike.ingest_chunk"
FINISH_TASK = "lookalike.finish"
CREATE_TASK = "lookalike.create_ingest_job"
VISIBILITY_TIMEOUT_S = 3600
"""The time after which Redis gives an unacknowledged message to another worker. Nothing waits for it: a dead worker's work is
sent again from the ledger within a lease time. The time is well over the longest a chunk may take (a setting, at most half of
this), so that no message is delivered twice while its task runs. Only a plan of very many items takes longer: the lease makes
its second message a no-op."""
KEY_PREFIX = "lookalike:celery:"


def transport_options() -> dict[str, Any]:
    """Celery's `broker_transport_options`; producers and workers must agree on the prefix."""
    return {
        "visibility_timeout": VISIBILITY_TIMEOUT_S,
        "global_keyprefix": KEY_PREFIX,
        "socket_connect_timeout": 2.0,
        "socket_timeout": 10.0,
        "socket_keepalive": True,
        # A worker that waits for messages notices a frozen server within twice this time.
        "health_check_interval": 10,
        "queue_order_strategy": "round_robin",
    }


def broker_settings(access: RedisAccess) -> dict[str, Any]:
    """The URL and the options of a Celery app's broker."""
    if isinstance(access, str):
        return {"broker_url": access, "broker_transport_options": transport_options()}
    sentinels = {"master_name": access.service, "sentinel_kwargs": sentinel_options(access)}
    return {
        "broker_url": ";".join(_sentinel_url(access, host, port) for host, port in access.addresses),
        "broker_transport_options": {**transport_options(), **sentinels},
        "broker_use_ssl": certificate_options(access) if access.tls else None,
    }


def _sentinel_url(access: Sentinels, host: str, port: int) -> str:
    # Celery goes from one URL to the next, and takes the database's number and the credentials from the current one.
    secret = "" if access.password is None else f":{quote(access.password, safe='')}"
    user = f"{quote(access.username, safe='')}{secret}@" if access.username or secret else ""
    return f"sentinel://{user}{f'[{host}]' if ':' in host else host}:{port}/{access.database}"


class TaskQueue:
    """A Celery producer. Thread-safe. Raises `Unavailable` where the broker does not answer, or takes no messages."""

    def __init__(self, access: RedisAccess) -> None:
        self._app = Celery("lookalike", set_as_current=False)
        self._app.conf.update(
            **broker_settings(access),
            broker_connection_timeout=2.0,
            broker_connection_max_retries=1,
            task_serializer="json",
            task_ignore_result=True,
            result_backend=None,
            task_default_queue=QUEUE,
        )

    def send_plan(self, job_id: str) -> None:
        """Send the task that plans a job."""
        self._send(PLAN_TASK, [job_id], FIRST_QUEUE)

    def send_chunk(self, job_id: str, chunk: int) -> None:
        """Send the task that works off a chunk."""
        self._send(CHUNK_TASK, [job_id, chunk], FIRST_QUEUE if chunk < FIRST_CHUNKS else QUEUE)

    def send_finish(self, job_id: str) -> None:
        """Send the task of the last unit of a job whose chunks are all recorded."""
        self._send(FINISH_TASK, [job_id], FIRST_QUEUE)

    def close(self) -> None:
        self._app.close()

    def _send(self, task: str, arguments: list[str | int], queue: str) -> None:
        try:
            self._app.send_task(task, arguments, queue=queue, retry=False, ignore_result=True)
        except (OperationalError, KombuError, OSError) as error:
            # Celery has turned redis' error into a text; its cause says more.
            ours = as_ours(error.__cause__, "broker")
            problem = ours.message if ours else str(error)
            # `Unavailable` also where waiting alone does not help: the ledger has the task, and sends it again.
            raise (ours if isinstance(ours, Unavailable) else Unavailable("broker", one_line(problem))) from error
