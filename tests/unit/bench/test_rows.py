"""The bench's own rules: what is interleaved, what a ratio is, what the bounds mean, and how a run ends."""

from __future__ import annotations

import json
import threading
from itertools import count
from pathlib import Path

import pytest
from PIL import Image

from tests.bench import __main__ as command
from tests.bench import callers, report
from tests.bench.rows import GROUPS, NOT_MEASURED, REACHED, SHORT, SPECS, Findings, Spec, Verdict, interleaved, p99
from tests.bench.scales import QUICK

HIGHER = Spec("a", "g", "t", 0.75, 0.9, "higher", "images/s")
LOWER = Spec("b", "g", "t", 1.2, 1.08, "lower", "ms")


def test_both_sides_are_measured_in_turn_and_the_warm_up_is_dropped() -> None:
    order: list[str] = []
    numbers = count()

    def side(name: str) -> float:
        order.append(name)
        return float(next(numbers))

    ours, limit = interleaved(lambda: side("A"), lambda: side("B"), 3)
    assert "".join(order) == "ABABABAB"
    assert (ours, limit) == ([2.0, 4.0, 6.0], [3.0, 5.0, 7.0])


def test_without_a_warm_up_every_round_counts() -> None:
    numbers = count()
    assert interleaved(lambda: next(numbers), lambda: next(numbers), 2, warm_up=False) == ([0, 2], [1, 3])


def test_the_ratio_is_that_of_the_medians_so_that_one_bad_round_changes_nothing() -> None:
    row = Findings().add("batcher_fashion", [90.0, 1.0, 80.0], [100.0, 100.0, 5000.0])
    assert (row.ours, row.limit, row.ratio) == (80.0, 100.0, 0.8)
    assert row.spread is not None
    assert row.spread[0] < row.spread[1]


@pytest.mark.parametrize(
    ("spec", "ratio", "verdict"),
    [
        (HIGHER, 0.9, Verdict.AIM),
        (HIGHER, 0.89, Verdict.MUST),
        (HIGHER, 0.75, Verdict.MUST),
        (HIGHER, 0.74, Verdict.SHORT),
        (LOWER, 1.08, Verdict.AIM),
        (LOWER, 1.09, Verdict.MUST),
        (LOWER, 1.2, Verdict.MUST),
        (LOWER, 1.21, Verdict.SHORT),
    ],
)
def test_bounds_hold_from_below_or_from_above_and_on_the_bound(spec: Spec, ratio: float, verdict: Verdict) -> None:
    assert spec.verdict(ratio) is verdict


@pytest.mark.parametrize("spec", SPECS, ids=[spec.name for spec in SPECS])
def test_no_aim_is_below_its_must(spec: Spec) -> None:
    assert spec.verdict(spec.aim) is Verdict.AIM
    assert report.progress(spec, spec.aim) > report.progress(spec, spec.must) == 1.0


def test_the_json_is_a_list_of_rows_with_exactly_what_was_agreed() -> None:
    findings = Findings()
    findings.add("end_to_end", [30.0, 40.0, 35.0], [30.0, 30.0, 30.0])
    (row,) = json.loads(findings.as_json())
    assert row == {
        "name": "end_to_end", "ours": 35.0, "limit": 30.0, "ratio": pytest.approx(35 / 30),
        "must": 1.35, "aim": 1.15, "better": "lower", "unit": "ms",
    }  # fmt: skip
    assert json.loads(findings.rounds_as_json())["end_to_end"]["ours"] == [30.0, 40.0, 35.0]


def test_the_exit_code_says_whether_every_must_is_reached() -> None:
    findings = Findings()
    findings.add("ready", [1.4], [1.0])
    assert findings.exit_code == REACHED
    findings.miss("start", "no reason")
    assert (findings.missing, findings.exit_code) == ({"memory": "no reason"}, NOT_MEASURED)
    findings.add("vector_search", [1.0], [2.0])
    assert findings.exit_code == SHORT


def test_a_group_that_fails_misses_its_rows_and_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    findings = Findings()
    monkeypatch.setitem(command.MODULES, "decode", "not_there")
    command.measure("decode", QUICK, findings)
    assert set(findings.missing) == {"decode_640x480", "decode_2000x1500"}
    assert "not_there" in findings.missing["decode_640x480"]


def test_every_group_has_a_module_and_every_row_stands_in_the_readme() -> None:
    folder = Path(command.__file__).parent
    assert set(command.MODULES) == set(GROUPS)
    assert all((folder / f"{name}.py").is_file() for name in command.MODULES.values())
    lines = (folder / "README.md").read_text(encoding="utf-8").splitlines()
    for spec in SPECS:
        (line,) = [line for line in lines if line.startswith(f"| `{spec.name}`")]
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        assert [float(cell.strip("≤ ")) for cell in cells[-2:]] == [spec.must, spec.aim], spec.name


def test_a_rate_counts_every_answer_over_the_time_until_the_last() -> None:
    answered: list[int] = []
    rate = callers.rate(answered.append, callers=3, window_s=0.05, items=32)
    assert sorted(answered) == list(range(len(answered)))
    assert 0 < rate <= 32 * len(answered) / 0.05


def test_a_rate_counts_the_time_of_what_is_under_way_when_the_window_ends() -> None:
    """As with a batch that takes longer than the window."""
    never = threading.Event()
    assert 0 < callers.rate(lambda _: never.wait(0.05), callers=2, window_s=0.001) <= 2 / 0.05


def test_of_a_hundred_values_the_p99_is_exceeded_by_one() -> None:
    assert p99([float(value) for value in range(1, 101)]) == 99.0
    assert p99([7.0]) == 7.0


def test_the_plot_and_the_files_are_written_for_any_number_of_rows(tmp_path: Path) -> None:
    findings = Findings()
    report.write(findings, tmp_path)
    empty = Image.open(tmp_path / "bench.png").height
    findings.add("ready", [20.0], [10.0])
    findings.add("recall_photo", [1.0], [1.0])
    findings.add("batcher_photo", [0.0], [1.0])
    report.write(findings, tmp_path)
    assert Image.open(tmp_path / "bench.png").height > empty
    assert {path.name for path in tmp_path.iterdir()} == {"bench.json", "bench-rounds.json", "bench.png"}
