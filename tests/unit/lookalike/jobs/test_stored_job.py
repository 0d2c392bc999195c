"""What the ledger keeps of a job is read by releases before and after this one."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from lookalike.errors import Internal
from lookalike.jobs.stored_job import finding_of, finding_text, options_of, options_text, source_of
from lookalike.records.job import Comparison, Forecast, JobOptions, NearDuplicatePolicy

FORECAST = Forecast(100, 3, 2, 1, {"IMAGE_EMPTY": 2}, 101, timedelta(seconds=75.25), 12, 25, deleted=7, passing_disk_bytes=37)


def test_options_are_the_text_that_earlier_releases_wrote() -> None:
    options = JobOptions(NearDuplicatePolicy.SKIP, 0.9, model="larger", grace=timedelta(days=1))
    assert options_text(options) == '{"grace_s":86400.0,"model":"larger","near_duplicates":"skip","threshold":0.9}'
    assert options_of(options_text(options)) == options
    assert (options_text(JobOptions()), options_of("{}")) == ("{}", JobOptions())


def test_a_job_of_a_later_release_is_not_taken_for_another_job() -> None:
    with pytest.raises(Internal, match="the option 'quality', which this version"):
        options_of('{"dry_run":true,"quality":3}')
    with pytest.raises(Internal, match="a source of kind 'feed', which this version"):
        source_of('{"kind":"feed","uri":"/data"}')


def test_a_finding_is_read_whatever_release_wrote_it() -> None:
    stored = json.loads(finding_text(FORECAST))
    assert stored["duration_s"] == 75.25
    assert finding_of(Forecast, json.dumps({**stored, "of_a_later_release": 1})) == FORECAST
    del stored["passing_disk_bytes"]
    assert finding_of(Forecast, json.dumps(stored)).passing_disk_bytes == 0, "earlier releases had none"
    compared = Comparison(200, 10, 0.84, 0.91, 0.93, 150, 0.01)
    assert finding_of(Comparison, finding_text(compared)) == compared
