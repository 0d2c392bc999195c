"""What the indexer's settings refuse."""

from __future__ import annotations

import pytest

from indexer.settings import IndexerSettings
from lookalike.runtime.environment import load_settings


def test_the_defaults_hold_together() -> None:
    leases = IndexerSettings().leases
    assert (leases.lease_s, leases.heartbeat_s) == (15.0, 4.0)


def test_every_setting_is_documented() -> None:
    assert [name for name, field in IndexerSettings.model_fields.items() if not field.description] == []


def test_a_heartbeat_that_does_not_fit_twice_into_a_lease_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LOOKALIKE_INDEXER_LEASE_S", "5")
    with pytest.raises(SystemExit) as ended:
        load_settings(IndexerSettings)
    assert ended.value.code == 2
    assert "INDEXER_HEARTBEAT_S (its default): must be at most half of LOOKALIKE_INDEXER_LEASE_S (5)" in capsys.readouterr().err
