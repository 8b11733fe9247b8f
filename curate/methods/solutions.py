"""The final answer of a worked solution, read and compared exactly: numbers as fractions.

Pure functions that never raise and never guess: without a marked answer there is none. What
needs algebra to be seen as equal (2x and x + x, sqrt(8) and 2 sqrt(2)) is not seen as equal.
"""

from __future__ import annotations

import re
from fractions import Fraction

_MARKED = re.compile(
    r"(?:^[ \t]*(?:[#]{4}|\**(?:final +)?answer\**[ \t]*(?:[:=]|is\b)|a:)"
    r"|\b(?:final )?answer(?: is|:))[ \t]*:?\**[ \t]*(?P<rest>[^\n]*)",
    re.I | re.M,
)
_BOXED = re.compile(r"\\boxed[ \t]*\{")
_FRACTION = re.compile(r"\\[dt]?frac\{(-?[0-9.,]{1,40})\}\{(-?[0-9.,]{1,40})\}")
_NUMBER = re.compile(
    r"(?P<sign>[-+]?)(?P<top>\d{1,40}(?:\.\d{0,40})?|\.\d{1,40})(?:/(?P<low>\d{1,40}))?", re.A
)
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_MONEY = re.compile(r"^\\?[$€£]|(?<=\d)\s*(?:\\?%|\\?[$€£])$")
_WORDS = re.compile(r"^(?P<number>\S+)\s+[^\W\d_][\w\s.-]{0,60}$")
_WRAPS = (("\\(", "\\)"), ("\\[", "\\]"), ("$", "$"), ("**", "**"), ("`", "`"))


def final_answer(text: str) -> str | None:
    r"""Return the answer that a solution ends in, or None where it marks none.

    The last of `\boxed{...}`, `#### ...`, `A: ...`, `Answer: ...` and `the answer is ...` counts,
    in any case; what follows the marker on its line, trimmed.
    """
    found: tuple[int, str] | None = None
    for mark in _BOXED.finditer(text):
        inside = _braced(text, mark.end())
        if inside is not None:
            found = (mark.start(), inside)
    for mark in _MARKED.finditer(text):
        if (found is None or mark.start() > found[0]) and "\\boxed" not in mark["rest"]:
            found = (mark.start(), mark["rest"])
    answer = None if found is None else found[1].strip()
    return answer or None


def same_answer(one: str, other: str) -> bool:
    r"""Whether two answers say the same: equal numbers, or equal texts but for case and spaces.

    1,000.50 = 1000.5 = $1000.50, 1/2 = 0.5 = \frac{1}{2}; a unit of words after a number is left
    out ("18 dollars" is 18), and so is a percent sign ("50%" is 50, not 0.5).
    """
    first, second = number_of(one), number_of(other)
    if first is not None and second is not None:
        return first == second
    return first is second is None and _plain(one).casefold() == _plain(other).casefold()


def number_of(answer: str) -> Fraction | None:
    """Return the one number that an answer is, exactly; None where it is something else."""
    text = _FRACTION.sub(r"\1/\2", _plain(answer))
    unit = _WORDS.match(text)
    text = _MONEY.sub("", _THOUSANDS.sub("", unit["number"] if unit else text)).strip()
    text = _MONEY.sub("", re.sub(r"^(-?)\\?[$€£]\s*", r"\1", text)).strip()
    found = _NUMBER.fullmatch(text)
    if found is None or (found["low"] and not int(found["low"])):
        return None
    value = Fraction(found["top"].rstrip(".")) / int(found["low"] or 1)
    return -value if found["sign"] == "-" else value


def _plain(answer: str) -> str:
    """Return the answer without the marks around it and a full stop at its end."""
    text = " ".join(answer.split())
    for _ in range(8):  # marks within marks; no honest answer has more
        before = text
        text = text.rstrip(".;, ").strip()
        for opened, closed in _WRAPS:
            size = len(opened) + len(closed)
            if text.startswith(opened) and text.endswith(closed) and len(text) > size:
                text = text[len(opened) : -len(closed)].strip()
        if text == before:
            break
    return text


def _braced(text: str, start: int) -> str | None:
    """Return what stands up to the brace that closes the one before `start`."""
    depth = 1
    for place in range(start, min(len(text), start + 2000)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if not depth:
            return text[start:place]
    return None
