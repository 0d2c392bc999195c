"""Celery finds every Sentinel and gives each server the right password, whatever is in it."""

from __future__ import annotations

from kombu.utils.url import url_to_parts

from lookalike.jobs.queue import broker_settings
from lookalike.runtime.redis_access import Sentinels


def test_every_sentinel_leads_celery_to_the_same_database_and_password() -> None:
    access = Sentinels((("s1", 26379), ("::1", 26380)), "mymaster", 3, "me", "p@ss;word/,", "other")
    settings = broker_settings(access)
    parts = [url_to_parts(url) for url in settings["broker_url"].split(";")]
    assert [(part.scheme, part.hostname, part.port, part.username, part.password, part.path) for part in parts] == [
        ("sentinel", "s1", 26379, "me", "p@ss;word/,", "3"),
        ("sentinel", "::1", 26380, "me", "p@ss;word/,", "3"),
    ]
    assert settings["broker_transport_options"]["master_name"] == "mymaster"
    assert settings["broker_transport_options"]["sentinel_kwargs"]["password"] == "other"
    assert settings["broker_use_ssl"] is None


def test_one_server_is_named_as_it_is() -> None:
    settings = broker_settings("redis://:secret@redis:6379/1")
    assert settings["broker_url"] == "redis://:secret@redis:6379/1"
    assert "master_name" not in settings["broker_transport_options"]
