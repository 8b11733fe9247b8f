"""Conditions on an answer that a program can check, as instruction-following benchmarks use them.

After IFEval (Zhou et al. 2023, arXiv:2311.07911): each kind has a wording for the prompt and a
check of the answer. A constraint is a tuple (kind, value...), in JSON a list. The checks read
the text alone, so they say nothing of whether the answer is any good.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from curate.arrays import mix

Constraint: TypeAlias = tuple[Any, ...]

# No pattern may go over a text more than once from any place: answers can be hostile and long.
_WORD = re.compile(r"\w+(?:['\u2019-]\w+)*")
_STOP = re.compile(r"[.!?…][\"'\u201d\u2019)]?(?=\s|\Z)")
_TITLE = re.compile(r"<<([^<>\n]+)>>")
_POSTSCRIPT = re.compile(r"^[^\w\n]*p\.[ \t]?s\.[ \t]*\S", re.M | re.I)
_BULLET = re.compile(r"^[ \t]*[-*•][ \t]+\S", re.M)
_NUMBERED = re.compile(r"^[ \t]*\d+[.)][ \t]+\S", re.M)
_HEADING = re.compile(r"^#{1,6}[ \t]+\S", re.M)
_HIGHLIGHT = re.compile(r"\*\*[^*\n]+\*\*|(?<!\*)\*[^*\s][^*\n]*\*(?!\*)")
_TABLE = re.compile(r"^\|.*\|[ \t]*\n\|[ \t:|-]+\|[ \t]*$", re.M)
_FENCE = re.compile(r"```[\w-]*\n(.*?)\n?```", re.S)
_END = " \n\t\"'\u201d\u2019"


@dataclass(frozen=True)
class Kind:
    """One kind: how it is asked for, how it is checked, and the values that it is drawn with.

    `{0}` and `{1}` in the wording are the values. No prompt is given two kinds of one `group`,
    as these may exclude each other; kinds without one go with no other and are not drawn.
    """

    wording: str
    check: Callable[..., bool]
    group: str = ""
    values: tuple[Constraint, ...] = ((),)


def _words(text: str) -> list[str]:
    return _WORD.findall(text)


def _count(text: str, word: str) -> int:
    wanted = word.casefold()
    return sum(found.casefold() == wanted for found in _words(text))


def _sentences(text: str) -> int:
    return sum(bool(_WORD.search(part)) for part in _STOP.split(text))


def _paragraphs(text: str) -> int:
    return sum(bool(part.strip()) for part in re.split(r"\n\s*\n", text))


def _is_json(text: str) -> bool:
    fence = _FENCE.fullmatch(text.strip())
    try:
        json.loads(fence[1] if fence else text)
    except (ValueError, RecursionError):
        return False
    return True


def _cased(text: str) -> bool:
    return text.upper() != text.lower()


_SHORT = ((50,), (100,), (150,), (250,))
_FEW = ((2,), (3,), (4,), (5,))
_TERMS = (("example",), ("water",), ("time",), ("people",), ("simple",), ("world",))
_CLOSINGS = (("That is all.",), ("I hope this helps.",), ("Is there anything else?",))

KINDS: Mapping[str, Kind] = {
    "words_at_least": Kind(
        "Use at least {0} words.", lambda t, n: len(_words(t)) >= n, "length", _SHORT
    ),
    "words_at_most": Kind(
        "Use at most {0} words.", lambda t, n: len(_words(t)) <= n, "length", _SHORT
    ),
    "sentences_at_least": Kind(
        "Write at least {0} sentences.",
        lambda t, n: _sentences(t) >= n, "length", ((4,), (6,), (10,)),
    ),
    "sentences_at_most": Kind(
        "Write at most {0} sentences.",
        lambda t, n: _sentences(t) <= n, "length", ((2,), (3,), (5,)),
    ),
    "paragraphs": Kind(
        "Write exactly {0} paragraphs, with an empty line between them.",
        lambda t, n: _paragraphs(t) == n, "shape", _FEW,
    ),
    "bullets": Kind(
        "Give exactly {0} bullet points, each on a line that begins with a dash.",
        lambda t, n: len(_BULLET.findall(t)) == n, "shape", _FEW,
    ),
    "numbered": Kind(
        "Give a numbered list of exactly {0} points.",
        lambda t, n: len(_NUMBERED.findall(t)) == n, "shape", _FEW,
    ),
    "headings": Kind(
        "Divide the answer by at least {0} Markdown headings.",
        lambda t, n: len(_HEADING.findall(t)) >= n, "shape", ((2,), (3,)),
    ),
    "table": Kind(
        "Put the main points in a Markdown table.", lambda t: bool(_TABLE.search(t)), "shape"
    ),
    "code_block": Kind(
        "Put an example in a fenced code block.", lambda t: bool(_FENCE.search(t)), "shape"
    ),
    "lowercase": Kind(
        "Write in lower case only.", lambda t: _cased(t) and t == t.lower(), "case"
    ),
    "uppercase": Kind(
        "Write in capital letters only.", lambda t: _cased(t) and t == t.upper(), "case"
    ),
    "capital_words": Kind(
        "Write at least {0} words in capital letters.",
        lambda t, n: sum(len(w) > 1 and w.isupper() for w in _words(t)) >= n, "case", _FEW,
    ),
    "no_commas": Kind("Do not use any commas.", lambda t: "," not in t, "sign"),
    "no_digits": Kind(
        "Do not use any digits.", lambda t: not any(c.isdigit() for c in t), "sign"
    ),
    "no_exclamations": Kind("Do not use exclamation marks.", lambda t: "!" not in t, "sign"),
    "word": Kind(
        'Use the word "{0}".', lambda t, word: _count(t, word) > 0, "word", _TERMS
    ),
    "no_word": Kind(
        'Do not use the word "{0}".', lambda t, word: _count(t, word) == 0, "word", _TERMS
    ),
    "word_at_least": Kind(
        'Use the word "{0}" at least {1} times.', lambda t, word, n: _count(t, word) >= n, "word",
        tuple((*term, n) for term in _TERMS for n in (2, 3)),
    ),
    "letter_at_most": Kind(
        'Use the letter "{0}" at most {1} times.',
        lambda t, letter, n: t.casefold().count(letter) <= n, "letter",
        (("z", 0), ("x", 1), ("q", 0), ("k", 5), ("j", 1)),
    ),
    "starts_with": Kind(
        'Begin with the words "{0}".',
        lambda t, start: t.lstrip(_END).casefold().startswith(start.casefold()), "opening",
        (("In short",), ("Good question",), ("Let us see",)),
    ),
    "title": Kind(
        "Give the answer a title in double angle brackets, such as <<a title>>.",
        lambda t: any(_WORD.search(found) for found in _TITLE.findall(t)), "opening",
    ),
    "ends_with": Kind(
        'End with exactly this: "{0}"',
        lambda t, end: t.rstrip(_END).casefold().endswith(end.rstrip(_END).casefold()), "ending",
        _CLOSINGS,
    ),
    "postscript": Kind(
        'Add a postscript at the end that begins with "P.S."',
        lambda t: bool(_POSTSCRIPT.search(t)), "ending",
    ),
    "highlights": Kind(
        "Highlight at least {0} parts with Markdown, as in *this*.",
        lambda t, n: len(_HIGHLIGHT.findall(t)) >= n, "marks", ((1,), (2,), (3,)),
    ),
    "placeholders": Kind(
        "Leave at least {0} placeholders in square brackets, such as [name].",
        lambda t, n: len(re.findall(r"\[[^\[\]\n]+\]", t)) >= n, "marks", ((1,), (2,), (3,)),
    ),
    "json": Kind("Answer with JSON and nothing else.", _is_json),
    "quoted": Kind(
        "Put the whole answer in double quotation marks.",
        lambda t: len(t.strip()) > 2 and t.strip()[0] == t.strip()[-1] == '"',
    ),
    "two_answers": Kind(
        "Give two different answers, with six asterisks (******) between them.",
        lambda t: len({p.strip() for p in t.split("******") if p.strip()}) == 2,
    ),
}  # fmt: skip
"""Every kind by name. A new one, or another wording, changes what `constrain` draws."""


def satisfied(text: str, constraint: Sequence[Any], *, loose: bool = False) -> bool:
    """Return whether the answer keeps to the constraint; an empty answer keeps to none.

    `loose` also passes an answer that would without its asterisks, its first line or its last,
    or any of these together: IFEval's second reading, for answers with an introduction. Raises
    ValueError for a kind that is not known or values that are not the kind's.
    """
    kind, *values = constraint
    if kind not in KINDS:
        raise ValueError(f"no kind of constraint {kind!r}; kinds: {', '.join(KINDS)}")
    given = [type(value) for value in values]
    if given != [type(value) for value in KINDS[kind].values[0]]:
        raise ValueError(f"constraint {kind!r}: unusable values {values!r}")
    readings = _variants(text) if loose else (text,)
    return any(
        bool(reading.strip()) and KINDS[kind].check(reading, *values) for reading in readings
    )


def satisfaction(text: str, constraints: Sequence[Sequence[Any]], *, loose: bool = False) -> float:
    """Return the share of the constraints (at least one) that the answer keeps to."""
    return sum(satisfied(text, one, loose=loose) for one in constraints) / len(constraints)


def worded(constraint: Sequence[Any]) -> str:
    """Return the sentence that asks for the constraint."""
    kind, *values = constraint
    return KINDS[kind].wording.format(*values)


def drawn(seed: int, n: int, kinds: Sequence[str]) -> list[Constraint]:
    """Return `n` constraints, of different groups, from these kinds; fewer if there are few."""
    keys = mix(seed, np.arange(len(kinds)))
    found: list[Constraint] = []
    groups: set[str] = set()
    for place in np.argsort(keys, kind="stable").tolist():
        kind = KINDS[kinds[place]]
        if len(found) == n or kind.group in groups:
            continue
        groups.add(kind.group)
        value = kind.values[int(mix(keys[place], 1)) % len(kind.values)]
        found.append((kinds[place], *value))
    return found


def broken(
    seed: int, texts: Sequence[str], constraints: Sequence[Sequence[Any]], *, loose: bool = False
) -> list[Constraint] | None:
    """Return the constraints with one in place of another that none of the answers keeps to.

    What is replaced, and by what, is drawn: the new one is of no group that the others have.
    None where the answers keep to all that could be drawn.
    """
    asked = [tuple(one) for one in constraints]
    for place in np.argsort(mix(seed, np.arange(len(asked))), kind="stable").tolist():
        taken = {KINDS[one[0]].group for k, one in enumerate(asked) if k != place}
        values = [
            (name, *value)
            for name, kind in KINDS.items()
            if kind.group and kind.group not in taken
            for value in kind.values
        ]
        order = np.argsort(mix(seed, place, np.arange(len(values)), 1), kind="stable")
        for new in (values[k] for k in order.tolist()):
            if new != asked[place] and not any(satisfied(t, new, loose=loose) for t in texts):
                return [*asked[:place], new, *asked[place + 1 :]]
    return None


def _variants(text: str) -> Iterator[str]:
    lines = text.strip().split("\n")
    for part in (lines, lines[1:], lines[:-1], lines[1:-1]):
        whole = "\n".join(part).strip()
        yield whole
        yield whole.replace("*", "")
