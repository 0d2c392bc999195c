"""What is held back, chosen and looked at; which recipe suits it; what a file of pairs may say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedder.datasets.listings import Listing
from embedder.training.gather import Look, Request, gather, look_at, of_classes
from embedder.training.pairs import kept_pairs, list_pairs
from embedder.training.plan import Wishes, make_plan
from embedder.training.recipes import FASHION
from lookalike.errors import InvalidArgument
from tests.pictures.made_pictures import encoded, noise


def make_folder(root: Path, sizes: dict[str, int], *, side: int = 20, channels: int = 3) -> Path:
    seed = 0
    for name, count in sizes.items():
        (root / name).mkdir(parents=True)
        for _ in range(count):
            seed += 1
            (root / name / f"{seed:03d}.png").write_bytes(encoded(noise(side, side, channels, seed=seed)))
    return root


def test_a_share_of_each_class_is_held_back_two_or_none(tmp_path: Path) -> None:
    request = Request(str(make_folder(tmp_path / "f", {"many": 20, "ten": 10, "few": 4, "two": 2})))
    found = gather(request)
    assert found.held is not None
    counts = np.bincount(found.held.labels, minlength=4)
    assert dict(zip(found.held.classes, counts.tolist(), strict=True)) == {"few": 0, "many": 4, "ten": 2, "two": 0}
    assert sorted(found.training.uris + found.held.uris) == sorted(gather(replace(request, held_share=0.0)).training.uris)
    assert found.training.uris == gather(request).training.uris
    assert found.held.uris != gather(replace(request, seed=2)).held.uris  # type: ignore[union-attr]
    assert gather(replace(request, held_share=0.0)).held is None


def test_classes_are_chosen_by_name_or_number(tmp_path: Path) -> None:
    listing = Listing("x", tuple("abcdef"), np.array([0, 1, 2, 0, 1, 2], np.int32), ("cat", "dog", "7"))
    chosen = of_classes(listing, ("2", "cat"))
    assert (chosen.classes, chosen.uris, chosen.labels.tolist()) == (("cat", "7"), ("a", "c", "d", "f"), [0, 1, 0, 1])
    assert of_classes(listing, ("7",)).classes == ("7",)
    with pytest.raises(InvalidArgument, match="'3' is not one of 0 cat, 1 dog, 2 7"):
        of_classes(listing, ("3",))


def test_a_limit_draws_the_same_pictures_for_the_same_seed() -> None:
    request = Request("fashion-mnist", limit=50)
    assert gather(request).training.uris == gather(request).training.uris
    assert len(gather(request).training) == 50
    assert gather(request).training.uris != gather(replace(request, seed=9)).training.uris


@pytest.mark.parametrize(
    ("side", "channels", "look"), [(20, 1, Look(20, False)), (90, 3, Look(90, True)), (90, 1, Look(90, False))]
)
def test_a_look_finds_size_and_colour(tmp_path: Path, side: int, channels: int, look: Look) -> None:
    found = gather(Request(str(make_folder(tmp_path / "f", {"a": 4, "b": 4}, side=side, channels=channels))))
    assert look_at(found.training) == look


def planned(look: Look, pictures: int = 1000, kind: str = "labels", **wishes: object):  # type: ignore[no-untyped-def]
    return make_plan(Wishes(**wishes), kind, fashion=False, look=look, pictures=pictures)  # type: ignore[arg-type]


def test_fashion_mnist_gets_the_recipe_of_the_shipped_model_and_small_wishes_change_little() -> None:
    look = Look(28, False)
    plan = make_plan(Wishes(), "labels", fashion=True, look=look, pictures=60_000)
    assert (plan.recipe, plan.pretrained, plan.measure_input) == (FASHION, "", False)
    plan = make_plan(Wishes(seed=7, epochs=2), "labels", fashion=True, look=look, pictures=60_000)
    assert plan.recipe == replace(FASHION, training=replace(FASHION.training, seed=7, epochs=2))


def test_small_pictures_get_a_tower_of_their_own_size_and_a_run_that_suits_their_number() -> None:
    plan = planned(Look(30, True))
    tower, training = plan.recipe.tower, plan.recipe.training
    assert (tower.backbone, tower.input_size, tower.channels) == ("conv", 32, 3)
    assert plan.measure_input
    assert (training.batch_size, training.epochs) == (64, 100)
    assert planned(Look(30, True), 50_000).recipe.training.epochs == 21
    assert planned(Look(200, False)).recipe.tower.input_size == 64
    assert len(planned(Look(200, False)).recipe.tower.widths) == 4
    assert planned(Look(200, False), input_size=96, channels=3).recipe.tower.input_size == 96


def test_photographs_get_a_pretrained_backbone_and_only_its_head_is_trained() -> None:
    plan = planned(Look(256, True))
    assert (plan.recipe.tower.backbone, plan.pretrained, plan.recipe.tower.head) == ("efficientnet_lite0", "imagenet", "joined")
    assert plan.recipe.input.fit == "squash"
    assert planned(Look(256, True), kind="views").recipe.tower.head == "pooled"
    assert planned(Look(256, True), backbone="conv").pretrained == ""
    assert planned(Look(256, True), channels=1).recipe.tower.backbone == "conv"


def test_the_length_of_an_embedding_counts_what_is_kept_in() -> None:
    recipe = planned(Look(30, True), embedding_dim=100).recipe
    assert (recipe.tower.embedding_dim, recipe.kept_dim) == (50, 50)
    assert planned(Look(30, True), kind="views").recipe.tower.embedding_dim == 256
    assert planned(Look(30, True), kind="views").recipe.kept_dim == 0


@pytest.mark.parametrize(
    ("wishes", "said"),
    [
        ({"loss": "nt-xent"}, "does not learn from pictures with labels; these do: combined"),
        ({"widths": (8,)}, "two or more numbers"),
        ({"backbone": "efficientnet_lite0", "widths": (8, 8)}, "for the backbone conv"),
        ({"backbone": "efficientnet_lite0", "precision": "mixed_float16"}, "leave --precision out"),
    ],
)
def test_wishes_that_do_not_go_together_are_refused(wishes: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        planned(Look(30, True), **wishes)


def test_a_file_of_pairs_names_each_picture_once_and_what_it_cannot_mean_is_skipped(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "f", {"a": 5})
    names = sorted(path.name for path in (folder / "a").iterdir())
    (folder / "a" / "copy.png").write_bytes((folder / "a" / names[0]).read_bytes())
    table = folder / "pairs.csv"
    lines = [
        f"a/{names[0]},a/{names[1]},1", f"a/{names[2]},a/{names[3]},no", f"a/{names[1]},a/{names[0]},yes",
        f"a/{names[0]},a/copy.png,1", f"a/{names[3]},a/{names[4]},1", f"a/{names[4]},a/{names[3]},0",
        f"a/{names[0]},a/{names[4]},maybe", f"a/{names[0]},,1", "a/gone.png,a/copy.png,1", f"a/copy.png,a/{names[2]},false",
    ]  # fmt: skip
    table.write_text("uri_a,uri_b,same\n" + "\n".join(lines))
    found = list_pairs(str(table))
    uris = [uri.rsplit("/", 1)[1] for uri in found.pictures.uris]
    pairs = {
        (uris[a], uris[b], int(same))
        for a, b, same in zip(*(found.pairs.first, found.pairs.second, found.pairs.same), strict=True)
    }
    expected = {(names[0], names[1], 1), (names[2], names[3], 0), (names[0], names[2], 0)}
    assert {(*sorted(pair[:2]), pair[2]) for pair in pairs} == expected
    reasons = sorted(skip.reason.split(", with")[0] for skip in found.pictures.skipped)
    assert reasons == sorted([
        "the same pair again", "a pair of a picture with itself", "a pair that is said to be the same and different",
        "row 7 has not 1 or 0 in the column 'same' (found 'maybe')", "row 8 has not two URIs", "there is no such file",
    ])  # fmt: skip
    kept = kept_pairs(found, tuple(uri for uri in found.pictures.uris if not uri.endswith(names[1])))
    assert len(kept) == 2
    (folder / "bad.csv").write_text("uri_a,uri_b\n")
    with pytest.raises(InvalidArgument, match="has no column 'same'; it has: uri_a, uri_b"):
        list_pairs(str(folder / "bad.csv"))
    (folder / "one.csv").write_text(f"uri_a,uri_b,same\na/{names[0]},a/{names[1]},1\n")
    with pytest.raises(InvalidArgument, match="pairs of the same and of different things"):
        list_pairs(str(folder / "one.csv"))
