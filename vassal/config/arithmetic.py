"""Placeholder arithmetic: ``%(a + b * 2)``, from left to right, as a pipe (Configuration page, "Placeholders math").

The one thing that can go wrong here is a number beyond all bounds: results are held to 64 bits, as in uWSGI.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

LIMIT = 1 << 63
LEADING = re.compile(r"\s*([+-]?[0-9]{1,19})(?![0-9])")
LONG = re.compile(r"\s*[+-]?[0-9]{20,}")
OPERATORS = frozenset("+-*/")


def pipeline(expression: str, lookup: Callable[[str], str | None]) -> str:
    """Return the result of `expression`: items and operators with spaces between.

    Two items without an operator are joined as text; ``++`` and ``--`` count what stands before them up or down;
    names that `lookup` does not know are empty; a text counts by its leading digits; division by zero gives 0.

    Raises:
        ArithmeticError: a number that 64 bits cannot hold.
    """
    value: str | None = None
    operator = ""
    for word in expression.split(" "):
        if not word:
            continue
        if word in OPERATORS:
            operator = word
        elif word in ("++", "--"):
            if value is not None:
                value = _held(number(value) + (1 if word == "++" else -1))
            operator = ""
        else:
            item = word if word.isascii() and word.isdigit() else lookup(word) or ""
            value = _held(_apply(operator, number(value or ""), number(item))) if operator else (value or "") + item
            operator = ""
    return value or ""


def number(text: str) -> int:
    """Return the integer that `text` begins with, 0 if it begins with none.

    Raises:
        ArithmeticError: 64 bits cannot hold it.
    """
    match = LEADING.match(text)
    if match is None:
        if LONG.match(text):
            raise ArithmeticError("a number that 64 bits cannot hold")
        return 0
    return int(match[1])


def _apply(operator: str, left: int, right: int) -> int:
    if operator == "+":
        return left + right
    if operator == "-":
        return left - right
    if operator == "*":
        return left * right
    if right == 0:
        return 0
    quotient = abs(left) // abs(right)
    return quotient if (left < 0) == (right < 0) else -quotient


def _held(result: int) -> str:
    if not -LIMIT <= result < LIMIT:
        raise ArithmeticError("a number that 64 bits cannot hold")
    return str(result)
