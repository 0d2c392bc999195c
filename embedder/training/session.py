"""A whole run: pictures loaded, a tower trained, measured and written as a bundle. Called by `embedder.commands.train`.

What lies in the output folder when it ends: the bundle, `validation.csv` (what it was measured on), `skipped.csv` (what could
not be used), and `checkpoint.npz`, from which the same command with more epochs goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np
import numpy.typing as npt

from embedder.datasets.data import LabelledImages
from embedder.datasets.sources import FASHION, Listing, Loaded, Shape, Skipped, list_labelled, load, read
from embedder.models import bundle as bundles
from embedder.models.bundle import Bundle, DataSummary, InputSpec, TowerConfig
from embedder.training import measure, provenance
from embedder.training.embedding import embed_pixels
from embedder.training.frozen import FrozenTower, vectors_of
from embedder.training.gather import Gathered, of_classes
from embedder.training.kept import keep_scales
from embedder.training.losses import find_loss
from embedder.training.mining import Pairs
from embedder.training.near_duplicates import HeadConfig, train_head
from embedder.training.pairs import kept_pairs
from embedder.training.plan import Plan
from embedder.training.tensorboard import ScalarLog
from embedder.training.train import AfterEpoch, Progress, train
from lookalike.csv_cells import csv_text
from lookalike.errors import InvalidArgument, LookalikeError

CHECKPOINT = "checkpoint.npz"
_PASSING = ("pixels.npy", "held.npy", "features.npy", "features.json")
"""Files that a run keeps on disk while it goes on, and that nothing needs after it."""
_IN_VAIN = "held back to measure on, but of those fewer than two classes can be read"


class Watcher(Protocol):
    """Hears how a run goes."""

    def stage(self, what: str, done: int, of: int) -> None:
        """`done` of `of` (0: not known) are done of `what`, a stage other than the training itself."""

    def step(self, now: Progress) -> None: ...

    def epoch(self, now: Progress, scalars: Mapping[str, float]) -> None:
        """A whole epoch is done; `scalars`: `loss`, `learning_rate` and, where pictures are held back, `validation_p_at_1`."""


@dataclass(frozen=True)
class Outcome:
    bundle: Bundle
    skipped: tuple[Skipped, ...]
    held: str


@dataclass(frozen=True)
class Session:
    """`name` of the model, the `out` folder, a folder for TensorBoard, the `command` that provenance names, and whether the
    weights are kept in half precision."""

    plan: Plan
    gathered: Gathered
    name: str
    out: Path
    command: str
    watcher: Watcher
    tensorboard: Path | None = None
    half_precision: bool = False

    def run(self) -> Outcome:
        """Raises what loading, training and measuring raise."""
        self.out.mkdir(parents=True, exist_ok=True)
        recipe = self.plan.recipe
        if recipe.tower.head == "pooled":
            bundle, skipped = self._near_duplicates()
            held = None
        else:
            loaded, held, in_vain = self._load()
            if self.plan.measure_input:
                recipe = replace(recipe, input=measured_input(loaded.images, recipe.input))
            tower, tower_config, spent_s = self._train(recipe.tower, recipe.input, loaded, held)
            skipped = (*self.gathered.skipped, *loaded.skipped, *(held.skipped if held else in_vain))
            bundle = self._bundle(tower, tower_config, recipe.input, (loaded.images.summary,), spent_s)
            tower.set_weights(list(bundle.weights))  # as they are kept
        # Written before it is measured, so that nothing is lost where measuring fails.
        bundles.save(bundle, self.out)
        _write_rows(self.out / "skipped.csv", ("uri", "reason"), ((skip.uri, skip.reason) for skip in skipped))
        if recipe.tower.head != "pooled":
            bundle = self._measured(bundle, tower, loaded, held)
            bundles.save(bundle, self.out)
        for name in _PASSING:
            (self.out / name).unlink(missing_ok=True)
        return Outcome(bundle, skipped, "validation.csv" if (self.out / "validation.csv").exists() else "")

    def _load(self) -> tuple[Loaded, Loaded | None, tuple[Skipped, ...]]:
        """What is learnt from, what is measured on, and what was held back for that in vain: where damaged pictures leave fewer
        than two classes of it every answer would be right."""
        tower, spec, listing = self.plan.recipe.tower, self.plan.recipe.input, self.gathered.held
        shape = Shape(tower.input_size, tower.channels, spec.fit)

        def loaded(part: Listing, name: str) -> Loaded:
            def report(done: int, of: int) -> None:
                self.watcher.stage("decoding", done, of)

            return load(replace(part, skipped=()), shape, memory_map=self.out / name, report=report)

        if not self.gathered.training:
            raise InvalidArgument("dataset", "holds nothing to train on")
        training = loaded(self.gathered.training, "pixels.npy")
        if self.gathered.request.kind == "labels" and len(training.images.classes) < 2:
            raise InvalidArgument("dataset", "fewer than two classes are left of which two pictures can be read")
        if not listing:
            return training, None, ()
        try:
            held = loaded(listing, "held.npy")
        except InvalidArgument:  # None of them can be read.
            return training, None, tuple(Skipped(uri, _IN_VAIN) for uri in listing.uris)
        if len(held.images.classes) > 1:
            return training, held, ()
        return training, None, (*held.skipped, *(Skipped(uri, _IN_VAIN) for uri in held.uris))

    def _train(
        self, tower_config: TowerConfig, spec: InputSpec, loaded: Loaded, held: Loaded | None
    ) -> tuple[keras.Model, TowerConfig, float]:
        recipe, images = self.plan.recipe, loaded.images
        # Evenly spread: a folder is listed class by class.
        every = -(-len(held.images) // measure.WATCHED) if held is not None else 1
        watched = held.images.rows(slice(None, None, every)) if held is not None else None
        known = None
        with ExitStack() as stack:
            log = stack.enter_context(ScalarLog(self.tensorboard)) if self.tensorboard is not None else None

            def reporting(vectors: Callable[[keras.Model], npt.NDArray[np.float32]]) -> AfterEpoch:
                def after_epoch(now: Progress, learnt: keras.Model, rate: float) -> None:
                    scalars = {"loss": now.loss, "learning_rate": rate}
                    if watched is not None:
                        scalars["validation_p_at_1"] = measure.p_at_1(vectors(learnt), watched.labels)
                    if log is not None:
                        log.add(now.epoch + 1, scalars)
                    self.watcher.epoch(now, scalars)

                return after_epoch

            heard: dict[str, Any] = {
                "pairs": self._pairs(loaded),
                "report": self.watcher.step,
                "checkpoint": self.out / CHECKPOINT,
            }
            if self.plan.pretrained:
                frozen = FrozenTower(tower_config, spec, recipe.training, self.plan.pretrained)
                features = frozen.features(images, self.out, partial(self.watcher.stage, "looking through the backbone"))
                plain = frozen.plain_features(watched) if watched is not None else features[:1]
                after = reporting(lambda head: vectors_of(head, plain))
                tower, spent_s = frozen.train(images, features, after_epoch=after, **heard)
                known = features[:, 0]
            else:
                shown = watched.pixels if watched is not None else images.pixels[:1]
                after = reporting(lambda tower: embed_pixels(tower, spec, shown))
                tower, spent_s = train(images, tower_config, spec, recipe.training, after_epoch=after, **heard)
        if recipe.kept_dim:
            self.watcher.stage("keeping scales", 0, 0)
            dim, share = recipe.kept_dim, recipe.kept_share
            tower, tower_config = keep_scales(tower, tower_config, images, spec, dim=dim, share=share, known=known)
        return tower, tower_config, spent_s

    def _pairs(self, loaded: Loaded) -> Pairs | None:
        if self.gathered.paired is None:
            return None
        pairs = kept_pairs(self.gathered.paired, loaded.uris)
        if not 0 < pairs.same.sum() < len(pairs):
            raise InvalidArgument("dataset", "no pairs are left both of the same and of different things that can be read")
        return pairs

    def _near_duplicates(self) -> tuple[Bundle, tuple[Skipped, ...]]:
        """A head over a pretrained backbone, without labels: `near_duplicates` has the recipe."""
        recipe, listing = self.plan.recipe, self.gathered.training
        config = HeadConfig(seed=recipe.training.seed, pairs=min(HeadConfig().pairs, max(2, len(listing))))
        found = train_head(
            (_readable(listing, row) for row in range(len(listing))), recipe.tower, recipe.input, config,
            pretrained=self.plan.pretrained,
            report=lambda now: self.watcher.stage(
                {"views": "looking through the backbone", "head": "training the head"}[now.stage], now.done,
                now.total or len(listing),
            ),
        )  # fmt: skip
        skipped = (*self.gathered.skipped, *(Skipped(listing.uris[row], reason) for row, reason in found.skipped))
        summary = DataSummary(listing.name, found.pictures, 0, listing.licence, listing.source, found.digest)
        bundle = self._bundle(found.tower, recipe.tower, recipe.input, (summary,), found.seconds)
        how = {"loss": "nt-xent (Chen et al. 2020, arXiv 2002.05709)", "recipe": asdict(config)}
        return replace(bundle, provenance={**bundle.provenance, **how}), skipped

    def _bundle(
        self, tower: keras.Model, config: TowerConfig, spec: InputSpec, trained_on: tuple[DataSummary, ...], spent_s: float
    ) -> Bundle:
        training = self.plan.recipe.training
        loss = find_loss(training.loss)
        bundle = Bundle(
            name=self.name,
            tower=config,
            input=spec,
            weights=tuple(np.asarray(value, np.float32) for value in tower.get_weights()),
            trained_on=(*self._backbone_source(), *trained_on),
            provenance={
                "command": self.command,
                "seed": training.seed,
                "training_seconds": round(spent_s),
                "finished": datetime.now(UTC).strftime("%Y-%m-%dT%H:%MZ"),
                "machine": provenance.machine(),
                "versions": provenance.versions(),
                "backend": keras.config.backend(),
                "loss": f"{loss.name} ({loss.paper})",
                "recipe": asdict(training),
                **({"frozen_backbone": self.plan.pretrained} if self.plan.pretrained else {}),
            },
        )
        return bundle.in_half_precision() if self.half_precision else bundle

    def _backbone_source(self) -> tuple[DataSummary, ...]:
        backbone, weights = self.plan.recipe.tower.backbone, self.plan.pretrained
        return (provenance.backbone_source(backbone, weights),) if weights else ()

    def _measured(self, bundle: Bundle, tower: keras.Model, loaded: Loaded, held: Loaded | None) -> Bundle:
        """`bundle` with its figures: of Fashion-MNIST over its test pictures, else over those held back, if there are any."""
        request = self.gathered.request
        fashion = request.dataset == FASHION and request.kind == "labels"
        whole = fashion and not request.classes and not request.limit
        if held is not None and not fashion:
            rows = ((uri, held.images.classes[label]) for uri, label in zip(held.uris, held.images.labels, strict=True))
            _write_rows(self.out / "validation.csv", ("uri", "label"), rows)
        if keras.config.backend() == "tensorflow" and (whole or (held is not None and not fashion)):
            from embedder.evaluation.labelled import evaluate_bundle

            dataset = FASHION if whole else str(self.out / "validation.csv")
            found = evaluate_bundle(
                bundle, dataset, data=request.data if whole else None, histograms=(),
                report=lambda what, done, of: self.watcher.stage(f"measuring: {what}", done, of),
            )  # fmt: skip
            figures = {name: round(value, 4) for name, value in found.figures.items()}
            name = found.measured_on.name if whole else f"{self.gathered.training.name}, held back"
            return bundle.with_metrics(figures, replace(found.measured_on, name=name))
        if fashion or held is not None:
            self.watcher.stage("measuring", 0, 0)
        if fashion:
            test = of_classes(list_labelled(FASHION, split="test", data=request.data), request.classes)
            rows_of = np.sort(np.random.default_rng(request.seed).permutation(len(test)))[: request.limit or len(test)]
            shape = Shape(bundle.tower.input_size, bundle.tower.channels, bundle.input.fit)
            return bundle.with_metrics(
                *measure.figures(tower, bundle.input, load(test.rows(rows_of), shape).images, loaded.images)
            )
        if held is None:
            return bundle
        figures, summary = measure.figures(tower, bundle.input, held.images)
        return bundle.with_metrics(figures, replace(summary, name=f"{summary.name}, held back"))


def measured_input(images: LabelledImages, spec: InputSpec) -> InputSpec:
    """`spec` with the mean and standard deviation of every channel of `images`, pixels scaled to [0, 1], to four digits."""
    total = np.zeros(images.pixels.shape[-1])
    squares = np.zeros_like(total)
    for start in range(0, len(images), 1024):
        block = images.pixels[start : start + 1024].astype(np.int64)
        total += block.sum((0, 1, 2))
        squares += (block * block).sum((0, 1, 2))
    count = len(images) * images.pixels.shape[1] * images.pixels.shape[2]
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 1.0))  # flat pictures: what has no contrast must not be divided by 0
    scaled = [tuple(round(float(value) / 255, 4) for value in values) for values in (mean, std)]
    return replace(spec, mean=scaled[0], std=scaled[1])


def _readable(listing: Listing, row: int) -> bytes | LookalikeError:
    """The encoded picture of a row, or why it cannot be read: one that is gone or too large must not end the run."""
    try:
        return read(listing, row)
    except LookalikeError as error:
        return error


def _write_rows(path: Path, header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    """A CSV; without rows there is none, and none is left of an earlier run."""
    listed = list(rows)
    if not listed:
        path.unlink(missing_ok=True)
        return
    with path.open("w", encoding="utf-8", errors="replace", newline="") as stream:
        stream.write(csv_text([header, *listed]))
