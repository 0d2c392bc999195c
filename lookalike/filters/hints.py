"""The error of a filter that does not parse, with advice what to write instead. Only `parsing` calls it.

People write the forms of other languages: single quotes, `==`, `LIKE`, `&&`, no quotes at all. The message names the place, the
text found there, and its form in this language.
"""

from __future__ import annotations

import json
import re
import unicodedata

from lark.exceptions import UnexpectedCharacters, UnexpectedEOF, UnexpectedInput, UnexpectedToken

from lookalike.errors import BadFilter

_QUOTES = {
    "'": "'", "\u2018": "\u2019'", "\u2019": "\u2019'", "\u201a": "\u2018\u2019'", "\u201b": "\u2019'", "\u2032": "\u2032",
    "\u201c": "\u201d\"", "\u201d": "\u201d\"", "\u201e": "\u201c\u201d\"", "\u201f": "\u201d\"", "\u2033": "\u2033",
    "\u00ab": "\u00bb", "\u00bb": "\u00ab\u00bb", "\u2039": "\u203a", "\u300c": "\u300d",
    "\uff02": "\uff02", "\u00b4": "\u00b4",
}  # fmt: skip
"""The quotes that people and their editors put around texts, and those that may close each."""
_INSTEAD = {
    "&": "write AND", "|": "write OR", "!": "write NOT before a comparison, or != within one", ":": "write =",
    "~": "patterns are not matched; text that ends in * matches every text that begins so",
    "%": "patterns are not matched; text that ends in * matches every text that begins so",
    "[": "a list goes in parentheses, a key of an object after a dot", "]": "a list goes in parentheses", "+": "leave it out",
    "{": "groups go in parentheses", "}": "groups go in parentheses", ";": "leave it out", "#": "leave it out",
    "\uff1d": "write =", "\u2260": "write !=", "\u2264": "write <=", "\u2265": "write >=", ".": "a number begins with a digit",
    "\u2212": "write - for a number below 0", "\u2013": "write - for a number below 0",
}  # fmt: skip
_PREFIX = 'text that ends in * matches every text that begins so, as in name = "summer*"'
_WORDS = {
    "LIKE": _PREFIX, "ILIKE": _PREFIX, "CONTAINS": _PREFIX, "MATCHES": _PREFIX, "STARTSWITH": _PREFIX, "REGEXP": _PREFIX,
    "HAS": _PREFIX, "BETWEEN": "write a >= 1 AND a <= 2", "EQ": "write =", "NE": "write !=", "GT": "write >", "GE": "write >=",
    "LT": "write <", "LE": "write <=", "IS": "write =; a comparison holds only for a value that is there",
    "EXISTS": "a comparison holds only for a value that is there", "XOR": "there are AND, OR and NOT",
}  # fmt: skip
_NOTHING = {"NULL", "NONE", "NIL", "UNDEFINED"}
_OPERATORS = {("=", "="): "write one =", ("=", ">"): "write >=", ("=", "<"): "write <=", ("<", ">"): "write !=",
              (">", "<"): "write !=", ("!=", "="): "write !=", ("=", ">="): "write >=", ("=", "<="): "write <="}  # fmt: skip
_UNQUOTED = re.compile(r"(?:(?! +(?:AND|OR|NOT)\b)[^()\"`,])+")
"""A text without quotes ends before what joins comparisons, or ends a list."""
_KEY = re.compile(r"[^\W\d][\w-]*")


def syntax_error(text: str, error: UnexpectedInput) -> BadFilter:
    """Lark's error for `text`, in words."""
    expected = _expected(error)
    if isinstance(error, UnexpectedEOF) or (isinstance(error, UnexpectedToken) and error.token.type == "$END"):
        return BadFilter(f"column {len(text) + 1}: ends too early; {expected}")
    at = error.pos_in_stream or 0
    if isinstance(error, UnexpectedCharacters) and text[at] in '"`':
        return BadFilter(f"column {at + 1}: the quote is not closed")
    found = str(error.token) if isinstance(error, UnexpectedToken) else text[at]
    hint = _hint(text, at, found, value_expected="value" in expected, key_expected="key" in expected) or expected
    return BadFilter(f"column {at + 1}: {_shown(found)} is not expected here; {hint}")


def _expected(error: UnexpectedInput) -> str:
    """The text of what could stand at that place."""
    # `expected` of a token names what some filter could have there, `accepts` what this one could.
    allowed = error.accepts if isinstance(error, UnexpectedToken) else getattr(error, "allowed", None)
    allowed = allowed or getattr(error, "expected", None) or set()
    if "TEXT" in allowed:
        return "a value is expected: text in double quotes, a number, true or false"
    if "OPERATOR" in allowed:
        return 'a comparison is expected, such as label = "Coat"'
    if "NAME" in allowed:
        return "a key is expected, such as label"
    if "COMMA" in allowed and "AND" not in allowed:
        return "a comma or a closing parenthesis is expected"
    if "LPAR" in allowed:
        return 'a list in parentheses is expected, such as ("red", "blue")'
    if "RPAR" in allowed:
        return "AND, OR or a closing parenthesis is expected"
    return "AND or OR is expected before more"


def _hint(text: str, at: int, found: str, *, value_expected: bool, key_expected: bool) -> str:
    """The advice what to write instead; "" where there is none."""
    before = text[:at].rstrip()
    if found[0] in _QUOTES:
        return _requoted(text, at, value_expected=value_expected)
    if found.upper() in ("AND", "OR", "NOT", "IN") and found not in ("AND", "OR", "NOT", "IN"):
        return f"write {found.upper()} in capitals"
    if key_expected and found[0] == '"':
        return f"a key stands without quotes; write {_as_key(found[1:-1])}"
    if found.upper() in _WORDS and not value_expected:
        return _WORDS[found.upper()]
    if value_expected:
        return _value_hint(text, at, found, before)
    if at and not text[at - 1].isspace() and before[-1:].isalnum() and _glued(text, at):
        start = re.search(r"[^\s(,=<>!]*$", text[:at])
        whole = text[start.start() if start else at :]
        return f"text and times go in double quotes; write {_quoted(whole)}"
    if found == ")" and not value_expected and not key_expected:
        return "it closes nothing"
    if found == "," and before[-1:].isdigit() and text[at + 1 : at + 2].isdigit():
        return "write a number without separators"
    return _INSTEAD.get(found[0], "")


def _value_hint(text: str, at: int, found: str, before: str) -> str:
    operator = re.search(r"[=<>!]+$", before)
    if operator and (operator[0], found) in _OPERATORS:
        return _OPERATORS[operator[0], found]
    if found == "(":
        return 'a list goes with IN, as in color IN ("red", "blue")'
    if found.upper() in _NOTHING:
        return "what is not there is not compared; NOT a = 1 also holds where a is not there"
    if found.upper() in ("TRUE", "FALSE"):
        return f"write {found.lower()}"
    if found[0] == "`":
        return f"backquotes are for keys; text goes in double quotes: write {json.dumps(found[1:-1], ensure_ascii=False)}"
    if found == "." and text[at + 1 : at + 2].isdigit():
        return "a number begins with a digit; write 0."
    if found[0].isalpha() or found[0] in "_/*#@$\\":
        return f"text goes in double quotes; write {_quoted(text[at:])}"
    return _INSTEAD.get(found[0], "")


def _requoted(text: str, at: int, *, value_expected: bool) -> str:
    """The advice for text in quotes of another kind."""
    closing = next((end for end in range(at + 1, len(text)) if text[end] in _QUOTES[text[at]]), len(text))
    inner = text[at + 1 : closing]
    if not value_expected:
        return f"a key stands without quotes; write {_as_key(inner)}" if inner else ""
    return f"text goes in double quotes; write {json.dumps(inner, ensure_ascii=False)}"


def _glued(text: str, at: int) -> bool:
    """Whether the text at `at` continues the text before it, as `-01` in `2026-01-31`."""
    return text[at].isalnum() or text[at] in "-:.%/_+"


def _quoted(rest: str) -> str:
    """The text without quotes that `rest` begins with, in quotes."""
    found = _UNQUOTED.match(rest)
    return json.dumps((found[0] if found else rest).strip(), ensure_ascii=False)


def _as_key(name: str) -> str:
    """`name` as a key is written."""
    return ".".join(part if _KEY.fullmatch(part) else f"`{part}`" for part in name.split("."))


def _shown(found: str) -> str:
    """`found` in quotes; the name of a character that cannot be seen."""
    if len(found) == 1 and not found.isprintable():
        return f"U+{ord(found):04X} {unicodedata.name(found, 'without a name')}"
    return json.dumps(found if len(found) <= 40 else found[:37] + "...", ensure_ascii=False)
