"""Whether a new bundle is at least as good as the one that its name means: the same figures, on the same data.

Owns the rule of `lookalike models promote`. NumPy only; called by `embedder.commands.models`, kept in
`embedder.registry.registry`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from embedder.models.bundle import Bundle
from lookalike.errors import FailedPrecondition

HEADLINES = ("p_at_5", "r_at_1_mean")
"""What decides, the first that both have: the share of right labels among five neighbours, or of originals found first after an
attack. In both, higher is better."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Figures of two bundles, `current` and `new`, each in [0, 1], higher is better, on the data called `measured_on` with this
    `digest`. `headline` names the figure that decides."""

    headline: str
    measured_on: str
    digest: str
    current: Mapping[str, float]
    new: Mapping[str, float]

    @property
    def worse(self) -> bool:
        return self.new[self.headline] < self.current[self.headline]

    @property
    def common(self) -> tuple[str, ...]:
        """Names of the figures that both have, the one that decides first."""
        others = (name for name in self.new if name in self.current and name != self.headline)
        return (self.headline, *others)

    def __str__(self) -> str:
        return f"{self.headline} {self.new[self.headline]:.4f} against {self.current[self.headline]:.4f} on {self.measured_on}"


def compare_cards(new: Bundle, current: Bundle) -> Comparison:
    """Compare what the bundles' own cards say. Raises `FailedPrecondition` (`NOT_COMPARABLE`) where they do not speak of the
    same data, or share no figure that could decide, or name one that is not finite."""
    ours, theirs = new.measured_on, current.measured_on
    if ours is None or theirs is None:
        lacking = new if ours is None else current
        raise not_comparable(f"{lacking.name}@{lacking.fingerprint} does not say how good it is")
    if ours.name == theirs.name and ours.digest != theirs.digest:
        raise not_comparable(f"both were measured on {ours.name!r}, but the new one by another protocol")
    if not ours.digest or ours.digest != theirs.digest:
        raise not_comparable(f"the new one was measured on {ours.name!r}, the current one on other data, {theirs.name!r}")
    return compare(new.metrics, current.metrics, measured_on=ours.name, digest=ours.digest)


def compare(new: Mapping[str, float], current: Mapping[str, float], *, measured_on: str, digest: str) -> Comparison:
    """Compare figures measured on one set of data. Raises `FailedPrecondition` (`NOT_COMPARABLE`) as `compare_cards`."""
    for whose, figures in (("new", new), ("current", current)):
        if broken := not_finite(figures):
            raise not_comparable(f"the {whose} one's {broken} is {figures[broken]}, which is no figure")
    headline = next((name for name in HEADLINES if name in new and name in current), None)
    if headline is None:
        raise not_comparable(f"they have neither {' nor '.join(HEADLINES)} in common")
    return Comparison(headline, measured_on, digest, dict(current), dict(new))


def not_finite(figures: Mapping[str, float]) -> str | None:
    """Name of the first figure that is infinite or not a number: nothing is worse than that, so it must decide nothing."""
    return next((name for name, value in figures.items() if not math.isfinite(value)), None)


def not_comparable(problem: str) -> FailedPrecondition:
    return FailedPrecondition(
        f"the two bundles cannot be compared: {problem}; --on DATASET measures both on one set of pictures "
        "(with --attacks on pictures without labels), --force --reason TEXT promotes without a comparison",
        reason="NOT_COMPARABLE",
    )
