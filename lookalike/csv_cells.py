"""The cells of CSV files, written and read back. Standard library only.

A spreadsheet takes a cell that begins with `=`, `+`, `-` or `@` for a formula and runs it, and ids, file names and error texts
come from strangers. So such a cell gets an apostrophe before it, as OWASP advises
(https://owasp.org/www-community/attacks/CSV_Injection), and a cell that already has apostrophes before such a sign gets one
more. Readers of these files remove one, so that every text comes back as it was.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable

_FORMULA = re.compile("['\\s\\0\ufeff\u200b]*[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
"""Also behind what a spreadsheet may drop or not show, and in full width, as OWASP lists them."""
_NUMBER = re.compile(r"[+-]?[0-9]+([.,][0-9]+)?(e[+-]?[0-9]+)?", re.IGNORECASE)


def csv_text(rows: Iterable[Iterable[object]], *, line_end: str = "\r\n") -> str:
    """`rows` as lines of CSV. Numbers stay as they are, also as text."""
    text = io.StringIO()
    csv.writer(text, lineterminator=line_end).writerows([_written(cell) for cell in row] for row in rows)
    return text.getvalue()


def read_back(cell: str) -> str:
    """The text of a cell that `csv_text` wrote; any other cell as it is."""
    return cell[1:] if cell.startswith("'") and _is_formula(cell[1:]) else cell


def _written(cell: object) -> object:
    if isinstance(cell, int | float):
        return cell
    text = "" if cell is None else str(cell)
    return f"'{text}" if _is_formula(text) else text


def _is_formula(text: str) -> bool:
    return _FORMULA.match(text) is not None and _NUMBER.fullmatch(text) is None
