"""The near-duplicate test: is the original of a photograph still found after somebody changed it?

Owns the attacks and the scoring. `lookalike evaluate BUNDLE FOLDER --attacks` calls `evaluate_attacks`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from embedder.bundle import Bundle, DataSummary


@dataclass(frozen=True)
class AttackEvaluation:
    """What came out. `figures` holds `r_at_1_mean` and `r_at_1_<attack>` (each 0 to 1) for every attack, in the order of
    `ATTACKS`; `baselines` holds the same keys for `last_stage` (the 1280 numbers of ImageNet's EfficientNet-Lite0, by cosine)
    and `histogram` (256 grey bins, L2), measured on the same pictures in the same run.

    `queries` photographs were attacked, each in every way, and searched for among themselves and `distractors` more.
    `measured_on` names and digests the files of both; `skipped` holds (path, reason) of those that could not be used. `attacks`
    says in words what each attack does.
    """

    figures: Mapping[str, float]
    baselines: Mapping[str, Mapping[str, float]]
    attacks: Mapping[str, str]
    queries: int
    distractors: int
    measured_on: DataSummary
    skipped: tuple[tuple[str, str], ...] = ()
    seed: int = 1


Report = Callable[[int, int], None]
"""Hears how many of how many photographs are done."""


def evaluate_attacks(
    bundle: Bundle,
    folder: Path,
    *,
    distractors: Path | None = None,
    seed: int = 1,
    report: Report = lambda _done, _total: None,
) -> AttackEvaluation:
    """Attack every photograph of `folder` (and the folders in it) and look for its original among all of them and those of
    `distractors` (a folder too), for `bundle` and for both baselines. The same files and `seed` give the same figures.

    Raises `InvalidArgument` where `folder` holds fewer than two photographs that can be used, `NotFound` where there is none.
    """
    raise NotImplementedError
