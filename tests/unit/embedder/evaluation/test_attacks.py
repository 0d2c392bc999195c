"""The near-duplicate test finds the originals, counts what it could not use, and gives the same figures twice."""

from __future__ import annotations

import functools
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from embedder.evaluation import attacks, last_stage
from embedder.evaluation.attacks import ATTACKS, AttackEvaluation, _Run, evaluate_attacks, score
from embedder.models import bundle as bundles
from embedder.models.pretrained import SHIPPED
from lookalike.errors import InvalidArgument, NotFound
from tests.pictures.scenes import scene
from tests.servers.embedder import random_bundle

KEYS = ["r_at_1_mean", *(f"r_at_1_{name}" for name in ATTACKS)]
QUERIES, DISTRACTORS = 4, 2


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Photographs (one twice, one torn, one no picture at all) and distractors (one of them a photograph again, one torn)."""
    root = tmp_path_factory.mktemp("photographs")
    folder, others = root / "holiday", root / "others"
    (folder / "beach").mkdir(parents=True)
    others.mkdir()
    for number in range(QUERIES):
        scene(number).save(folder / ("beach" if number % 2 else "") / f"{number}.jpg", quality=92)
    for number in range(DISTRACTORS):
        scene(100 + number).save(others / f"{number}.png")
    (folder / "copy.jpg").write_bytes((folder / "0.jpg").read_bytes())
    (others / "copy.jpg").write_bytes((folder / "2.jpg").read_bytes())
    (folder / "torn.jpg").write_bytes((folder / "0.jpg").read_bytes()[:3000])
    (others / "torn distractor.jpg").write_bytes((folder / "2.jpg").read_bytes()[:3000])
    (folder / "notes.txt").write_text("no picture")
    return folder, others


@pytest.fixture(scope="module", autouse=True)
def _networks_are_built_once() -> Iterator[None]:
    """A network answers alike however often it is asked, and takes seconds to build and trace."""
    build, built = attacks._Tower, dict[str, attacks._Tower]()

    def tower(bundle: bundles.Bundle) -> attacks._Tower:
        if bundle.fingerprint not in built:
            built[bundle.fingerprint] = build(bundle)
        return built[bundle.fingerprint]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(attacks, "_Tower", tower)
        patched.setattr(last_stage, "LastStage", functools.cache(last_stage.LastStage))
        yield


@pytest.fixture(scope="module")
def found(folders: tuple[Path, Path]) -> AttackEvaluation:
    return evaluate_attacks(bundles.load(SHIPPED), folders[0], distractors=folders[1], seed=4)


def test_every_attack_has_a_figure_for_the_bundle_and_for_both_baselines(found: AttackEvaluation) -> None:
    assert list(found.figures) == KEYS
    assert {name: list(figures) for name, figures in found.baselines.items()} == {"last_stage": KEYS, "histogram": KEYS}
    assert list(found.attacks) == list(ATTACKS)


def test_the_originals_are_found(found: AttackEvaluation) -> None:
    assert found.figures["r_at_1_jpeg_10"] == 1
    assert found.figures["r_at_1_mean"] > 0.9
    assert found.baselines["last_stage"]["r_at_1_jpeg_10"] == 1


def test_a_histogram_survives_a_mirror_and_not_darkness(found: AttackEvaluation) -> None:
    histogram = found.baselines["histogram"]
    assert histogram["r_at_1_mirror"] == 1
    assert histogram["r_at_1_light"] < 1


def test_another_seed_or_another_split_of_the_same_photographs_is_another_test(tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.png" for number in range(3)]
    for number, file in enumerate(files):
        scene(number).save(file)

    def digest(seed: int, looked_for: int) -> str:
        run = _Run([], seed)
        for number, file in enumerate(files):
            run.add(file, file, attacked=number < looked_for)
        return run.digest

    assert digest(1, 2) == digest(1, 2)
    assert len({digest(1, 2), digest(2, 2), digest(1, 1)}) == 3


def test_counts_add_up_and_skips_have_reasons(found: AttackEvaluation) -> None:
    assert (found.queries, found.distractors) == (QUERIES, DISTRACTORS)
    assert found.measured_on.images == QUERIES + DISTRACTORS
    skipped = {one.uri: one.reason for one in found.skipped}
    assert len(skipped) == len(found.skipped) - 1 == 3  # copy.jpg of either folder
    assert "damaged" in skipped["torn.jpg"]
    assert "damaged" in skipped["torn distractor.jpg"]
    assert skipped["copy.jpg"] == "is the same file as an earlier one"


def test_the_same_files_give_the_same_figures_and_progress_reaches_its_end(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Any network shows this. A small one is quick, and the histogram takes the place of the large baseline.
    monkeypatch.setattr(last_stage, "LastStage", attacks._Histogram)
    reported: list[tuple[int, int]] = []
    evaluate = functools.partial(
        evaluate_attacks, random_bundle("colour", color=True, mirror=False), folders[0], distractors=folders[1], seed=4
    )
    once = evaluate()
    assert evaluate(report=lambda done, total: reported.append((done, total))) == once
    files = QUERIES + DISTRACTORS + 4
    assert reported == [(done, files) for done in range(1, files + 1)]


def test_files_that_vanish_meanwhile_are_skips_or_no_misses_and_the_figures_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Any network shows this. A small one is quick, and the histogram takes the place of the large baseline.
    monkeypatch.setattr(last_stage, "LastStage", attacks._Histogram)
    bundle = random_bundle("colour", color=True, mirror=False)
    folder, others = tmp_path / "alike", tmp_path / "others"
    folder.mkdir()
    others.mkdir()
    for quality in (90, 91):  # so much alike that one is taken for the other
        scene(1).save(folder / f"{quality}.jpg", quality=quality)
    scene(2).save(others / "late.png")
    whole = evaluate_attacks(bundle, folder)
    assert whole.misses

    def vanish(done: int, total: int) -> None:
        if done == 2:
            (others / "late.png").unlink()
        if done == total:
            (folder / "90.jpg").unlink()

    found = evaluate_attacks(bundle, folder, distractors=others, report=vanish)
    assert (found.figures, found.distractors, found.misses) == (whole.figures, 0, ())
    (skipped,) = found.skipped
    assert (skipped.uri, "No such file" in skipped.reason) == ("late.png", True)


def test_a_folder_without_photographs_or_none_at_all_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8\xff nothing more")
    with pytest.raises(InvalidArgument, match="holds 0 photographs that can be used"):
        evaluate_attacks(bundles.load(SHIPPED), tmp_path)
    with pytest.raises(NotFound, match="folder"):
        evaluate_attacks(bundles.load(SHIPPED), tmp_path / "none")


def test_the_score_is_the_share_whose_nearest_is_the_original() -> None:
    gallery = np.eye(4, 6, dtype=np.float32) * np.asarray([[1], [1], [50], [1]], np.float32)  # long vectors have no head start
    attacked = np.repeat(gallery[:3, None], len(ATTACKS), axis=1)
    attacked[0, 2] = gallery[3]  # of the third attack, one is taken for a distractor
    attacked[1, 2] = gallery[0] + 0.1 * gallery[1]  # and one for another photograph
    scores = score(attacked, gallery, cosine=True)
    third = list(ATTACKS)[2]
    assert scores[f"r_at_1_{third}"] == pytest.approx(1 / 3, abs=1e-4)
    assert scores["r_at_1_mean"] == pytest.approx((len(ATTACKS) - 2 / 3) / len(ATTACKS), abs=1e-4)


def test_distance_and_angle_differ() -> None:
    gallery = np.asarray([[1, 0], [4, 0.5]], np.float32)
    attacked = np.repeat(np.asarray([[[4, 0]], [[4, 0.5]]], np.float32), len(ATTACKS), axis=1)
    assert score(attacked, gallery, cosine=True)["r_at_1_mean"] == 1
    assert score(attacked, gallery, cosine=False)["r_at_1_mean"] == 0.5


@pytest.mark.parametrize(("name", "area"), [("half_crop", 0.25), ("crop_30", 0.09)])
def test_crops_leave_the_part_they_say(name: str, area: float) -> None:
    left = Image.open(io.BytesIO(ATTACKS[name].change(scene(1), np.random.default_rng(1))))
    assert left.width * left.height == pytest.approx(area * 320 * 240, rel=0.02)


@pytest.mark.parametrize("name", sorted(ATTACKS))
def test_an_attack_changes_the_picture_and_is_the_same_for_the_same_draws(name: str) -> None:
    once, again = (ATTACKS[name].change(scene(2), np.random.default_rng(5)) for _ in range(2))
    assert once == again
    pixels = np.asarray(Image.open(io.BytesIO(once)).convert("RGB").resize((64, 64))).astype(float)
    assert np.abs(pixels - np.asarray(scene(2).resize((64, 64)))).mean() > 1
