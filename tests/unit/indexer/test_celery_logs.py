"""Celery's lines say what happened, and nothing of what a caller wrote."""

from __future__ import annotations

import logging

import pytest
from celery.worker.consumer import consumer
from redis.exceptions import ResponseError

from indexer.celery_logs import OneLine

BODY = "[{'uri': 'https://user:secret@host/x'}]"


def line(text: str, *arguments: object, error: Exception | None = None) -> str:
    information = (type(error), error, None) if error else None
    record = logging.LogRecord(consumer.logger.name, logging.ERROR, "x.py", 1, text, arguments, information)
    assert OneLine().filter(record)
    assert record.exc_info is None
    return record.getMessage()


@pytest.mark.parametrize(
    ("text", "arguments", "said"),
    [
        (consumer.UNKNOWN_TASK_ERROR, ("'ingest'", BODY, BODY, "x"), "Received unregistered task of type 'ingest'."),
        (consumer.UNKNOWN_FORMAT, (BODY,), "Received and deleted unknown message.  Wrong destination?!?"),
        (consumer.INVALID_TASK_ERROR, ("KeyError", BODY), "Received invalid task message: KeyError"),
        (
            consumer.MESSAGE_DECODE_ERROR,
            ("no", "json", "utf-8", BODY, BODY),
            "Can't decode message body: 'no'",
        ),
    ],
)
def test_what_a_message_holds_is_not_written_down(text: str, arguments: tuple[object, ...], said: str) -> None:
    assert line(text, *arguments, error=KeyError(BODY)) == said


def test_a_broker_that_refuses_is_logged_with_its_reason() -> None:
    said = line("Couldn't ack %r", "server", error=ResponseError("MISCONF cannot save"))
    assert said == "Couldn't ack 'server' (ResponseError: MISCONF cannot save)"


def test_the_same_line_is_not_written_again_and_again() -> None:
    lines = OneLine()
    records = [logging.LogRecord("x", logging.WARNING, "x.py", 1, text, (), None) for text in ("a", "a", "b")]
    assert [lines.filter(record) for record in records] == [True, False, True]


def test_a_defect_in_a_task_keeps_its_traceback() -> None:
    record = logging.LogRecord("x", logging.ERROR, "x.py", 1, "a\nb", (), (ValueError, ValueError("defect"), None))
    assert OneLine(keep_defects=True).filter(record)
    assert record.exc_info is not None
    assert record.getMessage() == "a\nb"
