"""What a parsed filter consists of, and how each part becomes a Milvus expression. `filters` parses into it and says why so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from lookalike.store.milvus.expressions import Expression, compared, joined, literal, prefixed


class Condition(Protocol):
    """Part of a filter; `depth` is how deep the user nested it."""

    @property
    def depth(self) -> int: ...

    def compiled(self, *, negated: bool) -> Expression:
        """The Milvus expression of it, or of what is true exactly where it is not."""


@dataclass(frozen=True, slots=True)
class Value:
    """`value` is text, a finite number or a boolean; `is_prefix` if the text ended in an unescaped `*`."""

    value: str | float | bool
    column: int
    is_prefix: bool = False

    @property
    def kind(self) -> str:
        return "boolean" if isinstance(self.value, bool) else "text" if isinstance(self.value, str) else "number"


@dataclass(frozen=True, slots=True)
class Field:
    """Something of an image that can be compared: `expression` is Milvus' name for it, `own` ours where it is no metadata."""

    expression: str
    own: str
    column: int


@dataclass(frozen=True, slots=True)
class Comparison:
    field: Field
    operator: str
    values: tuple[Value, ...]
    depth: int = 0

    def compiled(self, *, negated: bool) -> Expression:
        """Positive: false or (milvus-lite) unknown for a missing key. Negated: true for it, on both."""
        positive = self._positive()
        if not negated:
            return positive
        negative = Expression(f"not ({positive.text})", positive.depth + 1)
        if self.field.own:
            return negative
        name = self.field.expression
        guards = [Expression(f"not (exists {name})")]
        # Only on milvus-lite are these needed: comparing the order of different types is unknown there.
        if self.values[0].kind == "number" and self.operator not in ("=", "IN"):
            guards.append(Expression(f'{name} >= ""'))
        elif self.values[0].kind == "text" and (self.operator not in ("=", "IN") or self.values[0].is_prefix):
            guards += [Expression(f"{name} < 0"), Expression(f"{name} >= 0")]
        return joined([*guards, negative], "or")

    def _positive(self) -> Expression:
        name, operator = self.field.expression, self.operator
        if operator == "IN" and self.field.own:
            return Expression(f"{name} in [{', '.join(literal(value.value) for value in self.values)}]")
        if operator in ("IN", "NOT IN"):
            one, word = ("=", "or") if operator == "IN" else ("!=", "and")
            return joined([compared(name, one, value.value) for value in self.values], word)
        value = self.values[0]
        return prefixed(name, operator, str(value.value)) if value.is_prefix else compared(name, operator, value.value)


@dataclass(frozen=True, slots=True)
class Not:
    part: Condition
    depth: int

    def compiled(self, *, negated: bool) -> Expression:
        return self.part.compiled(negated=not negated)


@dataclass(frozen=True, slots=True)
class Chain:
    word: str
    parts: tuple[Condition, ...]
    depth: int

    def compiled(self, *, negated: bool) -> Expression:
        word = {"and": "or", "or": "and"}[self.word] if negated else self.word
        return joined([part.compiled(negated=negated) for part in self.parts], word)
