"""What `lookalike models promote` needs TensorFlow for: that a bundle can be served, and how good two of them are.

Imports it when it is called, not before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from embedder.commands.keras_import import import_keras
from lookalike.cli.terminal import note
from lookalike.errors import FailedPrecondition, LookalikeError

if TYPE_CHECKING:
    from embedder.models.bundle import Bundle, DataSummary
    from embedder.registry.comparison import Comparison


def check_servable(bundle: Bundle) -> None:
    """Build the tower of `bundle` as an embedder would and embed one picture.

    Raises `FailedPrecondition` (`MODEL_UNSERVABLE`) where that does not work.
    """
    import_keras()
    from embedder.serving.versions import build_served

    try:
        build_served(bundle, 1).traced.warm_up(lambda *_: None)
    except LookalikeError as error:
        raise FailedPrecondition(
            f"{bundle.name}@{bundle.fingerprint} cannot be served: {error.message}", reason="MODEL_UNSERVABLE"
        ) from error


def measuring(dataset: str, *, attacks: bool, data: Path | None) -> Callable[[Bundle, Bundle], Comparison]:
    """What measures two bundles on `dataset`, each once however often it is asked."""
    figures: dict[str, tuple[Mapping[str, float], DataSummary]] = {}

    def measured(bundle: Bundle) -> tuple[Mapping[str, float], DataSummary]:
        if bundle.fingerprint not in figures:
            note(f"measuring {bundle.name}@{bundle.fingerprint} on {dataset}")
            figures[bundle.fingerprint] = _evaluated(bundle, dataset, attacks=attacks, data=data)
        return figures[bundle.fingerprint]

    def measure(new: Bundle, current: Bundle) -> Comparison:
        from embedder.registry.comparison import compare, not_comparable

        (theirs, before), (ours, after) = measured(current), measured(new)
        if before.digest != after.digest:
            raise not_comparable(f"{dataset} changed while they were measured")
        return compare(ours, theirs, measured_on=after.name, digest=after.digest)

    return measure


def _evaluated(bundle: Bundle, dataset: str, *, attacks: bool, data: Path | None) -> tuple[Mapping[str, float], DataSummary]:
    if attacks:
        from embedder.evaluation.attacks import evaluate_attacks

        found = evaluate_attacks(bundle, Path(dataset))
        return found.figures, found.measured_on
    from embedder.evaluation.labelled import evaluate_bundle

    evaluation = evaluate_bundle(bundle, dataset, data=data, histograms=())
    return evaluation.figures, evaluation.measured_on
