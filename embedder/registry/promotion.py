"""Promoting a bundle: whether it may become what its name means, and the change that makes it so.

Owns the decision; `embedder.commands.models` asks for it and shows it. Measuring is the caller's: it needs TensorFlow.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from embedder.models.bundle import Bundle
from embedder.registry.comparison import Comparison, compare_cards, not_comparable, not_finite
from embedder.registry.record import Change, Record
from embedder.registry.registry import Registry, shipped_bundle
from lookalike.errors import FailedPrecondition, InvalidArgument, LookalikeError

Measure = Callable[[Bundle, Bundle], Comparison]
"""Compares a new bundle with the current one."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What a name means now: `record` (None: the registry does not know it), the `fingerprint` ("" for a name that nothing
    has), its `bundle` where that can be read, else the `problem`; `shipped` where it comes with the package."""

    record: Record | None
    fingerprint: str = ""
    bundle: Bundle | None = None
    problem: str = ""
    shipped: bool = False


def standing(registry: Registry, name: str) -> Standing:
    """What `name` means: the registry's current version, else the shipped bundle."""
    record = registry.find(name)
    try:
        if record is None:
            shipped = shipped_bundle(name)
            return Standing(None, shipped.fingerprint, shipped, shipped=True) if shipped else Standing(None)
        return Standing(record, record.current, registry.load(name, record.current))
    except LookalikeError as error:
        return Standing(record, record.current if record else "", problem=f"the current one cannot be read: {error.message}")


def promote(
    registry: Registry,
    bundle: Bundle,
    *,
    by: str,
    measure: Measure = compare_cards,
    force: bool = False,
    reason: str = "",
    compared: Callable[[Comparison], None] = lambda _: None,
) -> Record | None:
    """Make `bundle` what its name means, unless it is worse than what that means now; None where the name means it already.

    The first bundle of its name is not compared. `compared` is called with the comparison before it decides anything. With
    `force` a worse one, and one that cannot be compared, is promoted too; the change says so, with the `reason`.

    Raises `FailedPrecondition`: `WORSE_THAN_CURRENT`, `NOT_COMPARABLE`, or `REGISTRY_CHANGED` where another one changed this
    model meanwhile, so that it is to be decided anew; `InvalidArgument` ("bundle") for a card whose figures are not all finite,
    and what `measure` and the registry raise.
    """
    if broken := not_finite(bundle.metrics):
        raise InvalidArgument("bundle", f"{bundle.name}@{bundle.fingerprint} says {broken} {bundle.metrics[broken]}, no figure")
    now = standing(registry, bundle.name)
    if now.record is not None and now.fingerprint == bundle.fingerprint:
        return None
    first = not now.fingerprint and not now.problem
    same = now.fingerprint == bundle.fingerprint
    comparison = None if first or same else _compared(bundle, now, measure, force=force)
    if comparison is not None:
        compared(comparison)
        if comparison.worse and not force:
            raise FailedPrecondition(
                f"{bundle.name}@{bundle.fingerprint} is worse than the current {bundle.name}@{now.fingerprint}: {comparison}; "
                "--force --reason TEXT promotes it all the same",
                reason="WORSE_THAN_CURRENT",
            )
    against = not first and not same and (comparison is None or comparison.worse)
    why = reason or ("the first of its name" if first else "")
    change = Change(
        "promote", bundle.fingerprint, datetime.now(UTC), by,
        previous=now.fingerprint, reason=why, forced=force and against, comparison=comparison,
    )  # fmt: skip
    return registry.promote(bundle, change, over=now.record, keep=now.bundle if now.shipped and not same else None)


def _compared(bundle: Bundle, now: Standing, measure: Measure, *, force: bool) -> Comparison | None:
    try:
        if now.bundle is None:
            raise not_comparable(now.problem)
        return measure(bundle, now.bundle)
    except FailedPrecondition as error:
        if error.reason != "NOT_COMPARABLE" or not force:
            raise
        return None
