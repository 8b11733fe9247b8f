import time

import numpy as np
import pytest

from curate.methods.constraints import KINDS, drawn, satisfaction, satisfied, worded
from curate.methods.pairing import all_pairs

CASES = {  # the constraint, an answer that keeps to it and one that does not
    "words_at_least": ((3,), "one well-known three", "one two"),
    "words_at_most": ((2,), "don't stop", "one two three"),
    "sentences_at_least": ((2,), "It rains. Go home!", "It rains, go home"),
    "sentences_at_most": ((1,), "Only one", "One. Two."),
    "paragraphs": ((2,), "a\n\nb\nc", "a\nb"),
    "bullets": ((2,), "Both:\n- a\n* b", "- a"),
    "numbered": ((2,), "1. a\n2) b", "1. a\n2.b"),
    "headings": ((1,), "# One\ntext", "#One"),
    "table": ((), "| a | b |\n|---|:-:|\n| 1 | 2 |", "| a | b |"),
    "code_block": ((), "see\n```py\nx\n```", "see `x`"),
    "lowercase": ((), "ok now", "Ok now"),
    "uppercase": ((), "OK 2", "2"),
    "capital_words": ((2,), "NASA and ESA", "NASA and I"),
    "no_commas": ((), "a b", "a, b"),
    "no_digits": ((), "two", "2"),
    "no_exclamations": ((), "oh.", "oh!"),
    "word": (("water",), "Water runs", "waterfall"),
    "no_word": (("water",), "waterfall", "the water"),
    "word_at_least": (("time", 2), "Time after time", "time"),
    "letter_at_most": (("k", 1), "kin", "Kick"),
    "starts_with": (("In short",), '"in short: yes', "yes, in short"),
    "title": ((), "<<Tides>>\ntext", "<Tides>"),
    "ends_with": (("That is all.",), 'Yes. That is all."', "That is all. Really."),
    "postscript": ((), "Bye.\nP.S. More", "Bye. PS"),
    "highlights": ((2,), "*one* and **two**", "a * b * c *d*"),
    "placeholders": ((1,), "Dear [name]", "Dear name[]"),
    "json": ((), '```json\n{"a": 1}\n```', "{a: 1}"),
    "quoted": ((), ' "all of it" ', '"all" of it'),
    "two_answers": ((), "one ****** two", "one ****** one"),
}


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_each_kind_passes_and_fails(kind):
    values, good, bad = CASES[kind]
    assert satisfied(good, (kind, *values))
    assert not satisfied(bad, (kind, *values))
    assert not satisfied(" \n", (kind, *values))  # nothing keeps to no constraint
    for value in KINDS[kind].values:
        assert "{" not in worded((kind, *value))
        satisfied(good, (kind, *value))


def test_there_are_enough_kinds():
    assert len(KINDS) >= 20


def test_the_loose_reading_looks_past_an_introduction_and_asterisks():
    text = "Sure! Here it is:\n**the tides** are old\nAnything else?"
    assert not satisfied(text, ("lowercase",))
    assert satisfied(text, ("lowercase",), loose=True)
    assert satisfied(text, ("starts_with", "the tides"), loose=True)
    assert not satisfied(text, ("word", "bread"), loose=True)


def test_shares_become_ordered_pairs():
    asked = [("no_commas",), ("lowercase",)]
    texts = ["all fine", "All fine", "all, fine", "All, fine"]
    shares = [satisfaction(text, asked) for text in texts]
    assert shares == [1.0, 0.5, 0.5, 0.0]
    assert len(all_pairs(np.array([4]), np.array(shares))[0]) == 5


def test_drawing_takes_one_kind_of_a_group_and_all_in_turn():
    kinds = [name for name, kind in KINDS.items() if kind.group]
    found = [drawn(seed, 3, kinds) for seed in range(2000)]
    assert found[5] == drawn(5, 3, kinds)
    for some in found:
        assert len({KINDS[kind].group for kind, *_ in some}) == len(some) == 3
    assert {kind for some in found for kind, *_ in some} == set(kinds)
    assert len(drawn(1, 5, ["lowercase", "uppercase"])) == 1


def test_unknown_kinds_and_values_are_refused():
    with pytest.raises(ValueError, match="no kind of constraint 'rhyme'"):
        satisfied("x", ("rhyme",))
    with pytest.raises(ValueError, match="unusable values"):
        satisfied("x", ("words_at_least", "many"))
    with pytest.raises(ValueError, match="unusable values"):
        satisfied("x", ("word",))


@pytest.mark.parametrize(
    "text",
    [
        "\n" * 40_000,
        "a" * 40_000,
        " " * 40_000 + "x",
        "<<" + "a " * 40_000,
        "*a" * 20_000,
        "```a\n" * 9_999,
        "|-" * 20_000,
        "[" * 40_000,
        "." * 40_000,
    ],
)
def test_no_answer_makes_a_check_slow(text):
    begun = time.process_time()
    for kind, (values, _, _) in CASES.items():
        satisfied(text + "\n!", (kind, *values))
    assert time.process_time() - begun < 2
