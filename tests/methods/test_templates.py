from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.methods import templates
from curate.methods.copies import near_text
from curate.methods.templates import bare, questions, words_in


def asked(texts, threshold=0.5, least=10, spill=None):
    """What each text asks, numbered in the order of the first that asks it; -1 for nothing."""
    column = pa.array(texts, pa.large_string())
    twin, _ = near_text([column], np.arange(len(texts)), threshold)
    found = questions(twin, words_in([column]), threshold, least, spill).tolist()
    seen = {number: place for place, number in enumerate(dict.fromkeys(n for n in found if n >= 0))}
    return [seen.get(number, -1) for number in found]


def plain(texts, threshold, least, sample):
    """The same with Python's sets, one text after another."""
    column = pa.array(texts, pa.large_string())
    twin, _ = near_text([column], np.arange(len(texts)), threshold)
    words = [frozenset((text or "").split()) for text in texts]
    found, kept = [], {}
    for row, own in enumerate(words):
        head = row if twin[row] < 0 else int(twin[row])
        group = [w for r, w in enumerate(words) if (r if twin[r] < 0 else int(twin[r])) == head]
        different = list(dict.fromkeys(group))
        if not own:
            found.append(-1)
            continue
        if len(different) < least:
            found.append(("group", head))
            continue
        counts = Counter(word for other in different[:sample] for word in other)
        rest = frozenset(w for w in own if 2 * counts[w] <= min(len(different), sample))
        if not rest:
            found.append(("template", head))
            continue
        alike = [
            (len(rest & other) / len(rest | other), -place)
            for place, other in enumerate(kept.setdefault(head, []))
        ]
        best, place = max(alike, default=(0.0, 0))
        if best < threshold:
            kept[head].append(rest)
            place = -(len(kept[head]) - 1)
        found.append(("rest", head, -place))
    seen = {what: place for place, what in enumerate(dict.fromkeys(w for w in found if w != -1))}
    return [seen.get(what, -1) for what in found]


words = st.sampled_from(["sum", "up", "this", "text", "about", "tides", "bread", "glass", "maps"])


@given(
    st.lists(st.lists(words, max_size=7).map(" ".join), max_size=14),
    st.sampled_from([0.2, 0.5, 1.0]),
    st.integers(2, 4),
    st.integers(2, 20),
)
def test_it_is_what_sets_say_one_after_another(texts, threshold, least, sample):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(templates, "SAMPLE", sample)
        patch.setattr(templates, "_AT_ONCE", 3)  # many pieces
        assert asked(texts, threshold, least) == plain(texts, threshold, least, sample)


TOPICS = ["tides", "bread", "sonnets", "gears", "maps", "bees", "glass", "drums", "looms", "kites",
          "wells", "clocks"]  # fmt: skip
LONG = " ".join(f"rule{i} says that you must" for i in range(40))


@given(st.lists(st.integers(0, 11), min_size=1, max_size=30), st.integers(0, 7))
def test_under_one_long_template_what_is_put_in_decides(slots, spelt):
    slots = [*range(12), *slots]  # there are many
    ends = [["", ".", "?", " ", "!!", "  ", ").", "..."][(k * spelt) % 8] for k in slots]
    texts = [f"{LONG} Now write about {TOPICS[k]}{end}" for k, end in zip(slots, ends, strict=True)]
    texts = [t.upper() if k % 3 == spelt % 3 else t for k, t in enumerate(texts)]
    assert asked(texts, least=100) == [0] * len(texts)  # what the n-grams alone say
    assert asked(texts) == slots


def test_few_texts_may_be_spellings_of_one_question():
    plain_words = "a function that takes a list of numbers and gives them back in reverse order"
    spelt = [f"Write {plain_words}", f"Please write {plain_words} now", f"Give me {plain_words}"]
    assert asked(spelt) == [0, 0, 0]
    assert asked(spelt, least=3) == [0, 1, 2]
    assert asked(spelt * 20) == [0] * 60  # often asked is not differently asked


def test_names_with_signs_stay_apart_and_stops_do_not_count():
    (texts,) = bare([pa.array(['"C++"?', "C#.", "is it 2+3?", "(yes), 'no'...", None, "?!"])])
    assert texts.to_pylist() == ["C++", "C#", "is it 2+3", "yes no", None, ""]
    rows = [f"{LONG} in {language}." for language in ("C", "C++", "C#", "R", "Go")]
    assert asked(rows, least=5) == [0, 1, 2, 3, 4]
    assert asked(["?", "", None, "why?"], least=2) == [-1, -1, -1, 0]


def test_large_arrays_may_lie_in_files(tmp_path: Path):
    texts = [f"{LONG} {topic}" for topic in TOPICS] * 3
    assert asked(texts, spill=tmp_path) == asked(texts) == [*range(12)] * 3
    assert any(tmp_path.iterdir())
