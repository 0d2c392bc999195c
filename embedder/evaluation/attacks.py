"""The near-duplicate test: is the original of a photograph still found after it was changed?

Owns the attacks and the scoring. `lookalike evaluate BUNDLE FOLDER --attacks` calls `evaluate_attacks`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

from embedder.datasets.listings import Skipped
from embedder.evaluation.exact import nearest
from embedder.models.bundle import Bundle, DataSummary
from embedder.pictures import alterations as alter
from embedder.pictures.decode import MAX_SIDE, Decoder, TowerInput, Wanted
from lookalike.errors import InvalidArgument, LookalikeError, NotFound
from lookalike.picture_formats import SUFFIXES
from lookalike.spaces import Metric

if TYPE_CHECKING:  # TensorFlow takes seconds to import, and showing the figures needs only their form
    from embedder.evaluation.last_stage import LastStage

Vectors = npt.NDArray[np.float32]
HISTOGRAM_BINS = 256
QUALITY = 90
"""Of the JPEG that an attacked photograph is saved as, where the attack says nothing else."""
MISSES, THUMBNAIL_SIDE = 12, 112
LARGEST_BYTES, LARGEST_PIXELS = 100_000_000, 200_000_000
"""More than a service takes: these files are one's own."""


@dataclass(frozen=True, slots=True)
class Attack:
    """`change` makes an RGB picture (longest side at most 512) and a source of random draws into a JPEG file; `says` what."""

    says: str
    change: Callable[[Image.Image, np.random.Generator], bytes]


def _saved(change: Callable[[Image.Image, np.random.Generator], Image.Image], quality: int = QUALITY) -> Callable[..., bytes]:
    return lambda picture, rng: alter.jpeg(change(picture, rng), quality)


ATTACKS: Mapping[str, Attack] = MappingProxyType({
    "jpeg_10": Attack("JPEG of quality 10", _saved(lambda picture, _: picture, 10)),
    "half_crop": Attack("half of each side, anywhere", _saved(lambda picture, rng: alter.crop(picture, rng, 0.5**2))),
    "blur": Attack("Gaussian blur, 1 % of the longest side", _saved(lambda picture, _: alter.blurred(picture, 0.01))),
    "grey": Attack("without colour", _saved(lambda picture, _: alter.grey(picture))),
    "crop_30": Attack("30 % of each side, anywhere", _saved(lambda picture, rng: alter.crop(picture, rng, 0.3**2))),
    "sticker_jpeg_30": Attack(
        "a disc or box over 20 % of it, JPEG of quality 30", _saved(lambda picture, rng: alter.stickered(picture, rng, 0.2), 30)
    ),
    "mirror": Attack("left and right exchanged", _saved(lambda picture, _: alter.mirrored(picture))),
    "rotation": Attack("turned by 10 degrees, black corners", _saved(lambda picture, _: alter.rotated(picture, 10))),
    "light": Attack(
        "brightness x 0.6, contrast x 1.3", _saved(lambda picture, _: alter.adjusted(picture, brightness=0.6, contrast=1.3))
    ),
    "colour": Attack(
        "red x 1.25, blue x 0.75, then colour x 1.3",
        _saved(lambda picture, _: alter.adjusted(alter.tinted(picture, (1.25, 1.0, 0.75)), colour=1.3)),
    ),
    "caption": Attack(
        "words on a bar of 15 % of the height", _saved(lambda picture, rng: alter.captioned(picture, rng, 0.15))
    ),
})  # fmt: skip
"""In the order in which they are shown. Cropping and stickers lie where the seed says. The strengths of the first six are such
that pooling the last stage does as well as in the measurements this test was made after (.71 to .99)."""


@dataclass(frozen=True, slots=True)
class Miss:
    """An attacked photograph to which another was nearer than its original, for the bundle: the `attack`, the names of the
    files `original` and `found`, and small JPEG pictures (`attacked`, and of both files)."""

    attack: str
    original: str
    found: str
    attacked: bytes = field(repr=False)
    original_picture: bytes = field(repr=False)
    found_picture: bytes = field(repr=False)


@dataclass(frozen=True)
class AttackEvaluation:
    """What came out. `figures` holds `r_at_1_mean` and `r_at_1_<attack>` (each 0 to 1) for every attack, in the order of
    `ATTACKS`; `baselines` holds the same keys for `last_stage` (the 1280 numbers of ImageNet's EfficientNet-Lite0, by cosine)
    and `histogram` (256 grey bins, L2), measured on the same pictures in the same run.

    `queries` photographs were attacked, each in every way, and searched for among themselves and `distractors` more.
    `measured_on` names and digests the files of both; `skipped` holds those that could not be used. `attacks`
    says in words what each attack does. `misses` shows a few, of as many attacks as there are, chosen without chance.
    """

    figures: Mapping[str, float]
    baselines: Mapping[str, Mapping[str, float]]
    attacks: Mapping[str, str]
    queries: int
    distractors: int
    measured_on: DataSummary
    skipped: tuple[Skipped, ...] = ()
    seed: int = 1
    misses: tuple[Miss, ...] = ()


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

    A file whose content was seen before counts as skipped: it would be a second right answer.
    Raises `InvalidArgument` where `folder` holds fewer than two photographs that can be used, `NotFound` where there is none.
    """
    listed = [(path, folder, True) for path in _files(folder)]
    if not listed:  # said before networks are built, which takes seconds
        raise _too_few(folder, 0)
    if distractors:
        listed += [(path, distractors, False) for path in _files(distractors)]
    from embedder.evaluation.last_stage import LastStage

    run = _Run([_Tower(bundle), LastStage(), _Histogram()], seed)
    for done, (path, root, attacked) in enumerate(listed, 1):
        run.add(path, path.relative_to(root), attacked=attacked)
        report(done, len(listed))
    if run.queries < 2:
        raise _too_few(folder, run.queries)
    figures = run.scores()
    return AttackEvaluation(
        figures=figures[0],
        baselines={"last_stage": figures[1], "histogram": figures[2]},
        attacks={name: attack.says for name, attack in ATTACKS.items()},
        queries=run.queries,
        distractors=run.gallery_size - run.queries,
        measured_on=DataSummary(
            name=folder.name, images=run.gallery_size, source=f"{run.queries} photographs, each in {len(ATTACKS)} attacks",
            digest=run.digest,
        ),
        skipped=tuple(run.skipped),
        seed=seed,
        misses=tuple(islice(run.misses(), MISSES)),
    )  # fmt: skip


def _too_few(folder: Path, count: int) -> InvalidArgument:
    return InvalidArgument("folder", f"{folder} holds {count} photographs that can be used; at least 2 are needed")


class _Tower:
    """A bundle through the serving path."""

    def __init__(self, bundle: Bundle) -> None:
        import tensorflow as tf

        from embedder.models.model import Model

        side, channels = bundle.tower.input_size, bundle.tower.channels
        self.wanted = Wanted(towers=(TowerInput(side, channels, bundle.input.fit),))
        # Traced once, for any number of pictures.
        self._embed = tf.function(Model(bundle).embed, input_signature=[tf.TensorSpec((None, side, side, channels), tf.uint8)])

    def vectors(self, files: Sequence[bytes], decoder: Decoder) -> Vectors:
        vectors: Vectors = self._embed(np.stack([decoder.decode(data, self.wanted).tower for data in files])).numpy()
        return vectors


class _Histogram:
    """What the original article compares with: 256 grey bins over their total, by L2."""

    def vectors(self, files: Sequence[bytes], decoder: Decoder) -> Vectors:
        canvases = [decoder.decode(data, Wanted(canvases=(1,))).canvas for data in files]
        counts = [np.bincount(canvas.ravel(), minlength=HISTOGRAM_BINS) for canvas in canvases]
        return np.stack([count / count.sum() for count in counts]).astype(np.float32)


@dataclass
class _Run:
    """Vectors of every method, photograph by photograph: at no time are more than one's pixels in memory."""

    methods: Sequence[_Tower | LastStage | _Histogram]
    seed: int
    queries: int = 0
    skipped: list[Skipped] = field(default_factory=list)
    _digests: dict[str, Path] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._decoder = Decoder(max_bytes=LARGEST_BYTES, max_pixels=LARGEST_PIXELS)
        self._gallery: list[list[Vectors]] = [[] for _ in self.methods]
        self._attacked: list[list[Vectors]] = [[] for _ in self.methods]

    @property
    def gallery_size(self) -> int:
        return len(self._digests)

    @property
    def digest(self) -> str:
        """Over all that makes it this test: which photographs are looked for and among which others, the attacks, the seed."""
        files = list(self._digests)
        roles = [*sorted(files[: self.queries]), "among", *sorted(files[self.queries :])]
        attacks = [f"{name}: {attack.says}" for name, attack in ATTACKS.items()]
        return hashlib.sha256("\n".join([*roles, *attacks, f"seed {self.seed}"]).encode()).hexdigest()[:16]

    def add(self, path: Path, shown: Path, *, attacked: bool) -> None:
        try:
            data = path.read_bytes()
            digest = hashlib.sha256(data).hexdigest()
            if digest in self._digests:
                raise InvalidArgument("photograph", "is the same file as an earlier one")
            files = [data, *(self._attacks(data, digest) if attacked else ())]
            found = [method.vectors(files, self._decoder) for method in self.methods]
        except (LookalikeError, OSError) as error:
            reason = error.problem if isinstance(error, InvalidArgument) else str(error)
            self.skipped.append(Skipped(str(shown), reason))
            return
        self._digests[digest] = path
        self.queries += attacked
        for vectors, gallery, attacks in zip(found, self._gallery, self._attacked, strict=True):
            gallery.append(vectors[0])
            if attacked:
                attacks.append(vectors[1:])

    def _attacks(self, data: bytes, digest: str) -> Iterator[bytes]:
        """By the photograph's content, not by its place among the others: more photographs do not change what became of it."""
        picture = alter.resized(self._decoder.picture(data), MAX_SIDE)
        for number, attack in enumerate(ATTACKS.values()):
            yield attack.change(picture, np.random.default_rng((self.seed, number, int(digest[:8], 16))))

    def misses(self) -> Iterator[Miss]:
        """Of the first method: one of each attack, then another of each, while there are any, `MISSES` of an attack at most.
        Those whose files have gone since they were measured, or cannot be read any more, are left out."""
        nearest = nearest_of(np.stack(self._attacked[0]), np.stack(self._gallery[0]), cosine=True)
        missed = [np.flatnonzero(found != np.arange(len(found))) for found in nearest.T]
        turns = ((attack, rows[turn]) for turn in range(MISSES) for attack, rows in enumerate(missed) if turn < len(rows))
        paths, digests, names = list(self._digests.values()), list(self._digests), list(ATTACKS)
        for attack, row in turns:
            original, found = paths[row], paths[nearest[row, attack]]
            try:
                data = original.read_bytes()
                attacked = list(self._attacks(data, digests[row]))[attack]
                small = [self._decoder.thumbnail(one, THUMBNAIL_SIDE) for one in (attacked, data, found.read_bytes())]
            except (LookalikeError, OSError):
                continue
            yield Miss(names[attack], original.name, found.name, *small)

    def scores(self) -> list[dict[str, float]]:
        return [
            score(np.stack(attacked), np.stack(gallery), cosine=not isinstance(method, _Histogram))
            for method, gallery, attacked in zip(self.methods, self._gallery, self._attacked, strict=True)
        ]


def score(attacked: Vectors, gallery: Vectors, *, cosine: bool) -> dict[str, float]:
    """R@1 per attack and their mean, from `attacked` (`[queries, attacks, d]`) and `gallery` (`[m, d]`, of which the first
    `queries` rows are the originals in order). By cosine, or by L2; of equally near originals the first one counts."""
    nearest = nearest_of(attacked, gallery, cosine=cosine)
    wanted = np.arange(len(attacked))
    found = {f"r_at_1_{name}": round(float((nearest[:, number] == wanted).mean()), 4) for number, name in enumerate(ATTACKS)}
    mean = round(sum(found.values()) / len(found), 4)
    return {"r_at_1_mean": mean, **found}


def nearest_of(attacked: Vectors, gallery: Vectors, *, cosine: bool) -> npt.NDArray[np.int64]:
    """The row of `gallery` nearest to each of `attacked`, as `score` takes them: int64 `[queries, attacks]`."""
    if cosine:
        gallery = gallery / np.linalg.norm(gallery, axis=1, keepdims=True)  # the query's length changes no order
    metric = Metric.COSINE if cosine else Metric.L2
    return np.stack([nearest(queries, gallery, 1, metric)[:, 0] for queries in attacked.swapaxes(0, 1)], axis=1)


def _files(folder: Path) -> Iterator[Path]:
    if not folder.is_dir():
        raise NotFound("folder", str(folder))
    return (path for path in sorted(folder.rglob("*")) if path.suffix.lower() in SUFFIXES and path.is_file())
