from __future__ import annotations

import re
import unicodedata
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.methods import postings, set_join, shingles
from curate.methods.copies import near_text
from curate.methods.set_join import JaccardJoin
from curate.methods.shingles import shingle_sets, tokenize, words

UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
THRESHOLDS = [0.1, 0.3, 0.5, 0.55, 0.7, 0.8, 1.0]


def arrays(texts) -> list[pa.Array]:
    return [pa.array(texts, pa.string())]


def grams(text: str, width: int = 3) -> frozenset:
    """The reference: Python's own NFC, lower case and regular expressions."""
    text = unicodedata.normalize("NFC", text).lower()
    found = re.findall(f"[{UNSPACED}]|[^\\s{UNSPACED}]+", text)
    if len(found) < width:
        return frozenset(found)
    return frozenset(zip(*(found[step:] for step in range(width)), strict=False))


def jaccard(a: frozenset, b: frozenset) -> float:
    return len(a & b) / len(a | b) if a | b else 0.0


def greedy(texts: list[str], threshold: float) -> tuple[list[int], list[float]]:
    kept, twin, values = [], [], []
    sets = [grams(text) for text in texts]
    for row, a in enumerate(sets):
        best = (-1.0, -1)
        for other in kept:
            value = jaccard(a, sets[other])
            if value >= threshold and value > best[0]:
                best = value, other
        twin.append(best[1])
        values.append(best[0])
        if best[1] < 0:
            kept.append(row)
    return twin, values


def linked(texts: list[str], threshold: float) -> list[int]:
    sets, root = [grams(text) for text in texts], list(range(len(texts)))
    for i, a in enumerate(sets):
        for j in range(i):
            if jaccard(a, sets[j]) >= threshold:
                low, high = sorted((root[i], root[j]))
                root = [low if r == high else r for r in root]
    return root


def small_paths(patch):
    """Take the paths of large inputs."""
    patch.setattr(postings, "CHUNK", 5)
    patch.setattr(postings, "LONG", 0)
    patch.setattr(postings, "PART", 4)
    patch.setattr(postings, "BATCH_TOKENS", 9)
    patch.setattr(set_join, "BATCH_TOKENS", 7)
    patch.setattr(set_join, "ROUND", 0)
    patch.setattr(shingles, "BATCH_BYTES", 30)


TEXTS = st.lists(
    st.one_of(
        st.lists(st.sampled_from("abcde"), max_size=9).map(" ".join),
        st.lists(st.sampled_from("xy"), max_size=4).map(" ".join),
        st.lists(st.sampled_from(["\u65e5", "\u672c", "caf\u00e9", "CAFE\u0301", "2+3"])).map(
            " ".join
        ),
    ),
    max_size=40,
)


@settings(max_examples=200, deadline=None)
@given(TEXTS, st.sampled_from(THRESHOLDS), st.booleans())
def test_greedy_join_equals_brute_force(texts, threshold, small):
    with pytest.MonkeyPatch.context() as patch:
        if small:
            small_paths(patch)
        twin, similarity = near_text(arrays(texts), np.arange(len(texts)), threshold)
    expected, values = greedy(texts, threshold)
    assert twin.tolist() == expected
    gone = twin >= 0
    assert similarity[gone].tolist() == np.array(values)[gone].tolist()


@settings(max_examples=100, deadline=None)
@given(TEXTS, st.sampled_from(THRESHOLDS), st.booleans())
def test_components_equal_brute_force(texts, threshold, small):
    texts = list({grams(text): text for text in texts if grams(text)}.values())
    with pytest.MonkeyPatch.context() as patch:
        if small:
            small_paths(patch)
        _, sets = shingle_sets(arrays(texts))
        found = JaccardJoin(sets, threshold).components()
    assert found.tolist() == linked(texts, threshold)


@settings(max_examples=50, deadline=None)
@given(TEXTS, st.sampled_from(THRESHOLDS), st.randoms())
def test_the_order_decides_who_stays(texts, threshold, random):
    order = list(range(len(texts)))
    random.shuffle(order)
    twin, _ = near_text(arrays(texts), np.array(order, dtype=np.int64), threshold)
    expected, _ = greedy([texts[i] for i in order], threshold)
    by_rank = [-1 if twin[row] < 0 else order.index(twin[row]) for row in order]
    assert by_rank == expected


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(max_size=30), max_size=8), st.integers(1, 4))
def test_any_text_has_as_many_shingles_as_the_reference_says(texts, width):
    # Controls count as white space here, and Python lowers a few letters by their context.
    kept = [t for t in texts if not any(unicodedata.category(c) in ("Cc", "Cs", "Cn") for c in t)]
    kept = [t for t in kept if all(len(c.lower()) == 1 and c not in "\u03a3" for c in t)]
    kept = [t for t in kept if not re.search(r"[\U00020000-\U0003134f\uf900-\ufaff]", t)]
    _, counts = tokenize(shingles.fold(pa.array(kept, pa.string())), width)
    assert counts.tolist() == [len(grams(text, width)) for text in kept]


def test_words_as_the_shingles_see_them():
    assert words("Hello, W\u00d6RLD\u3000 foo\tbar \u65e5\u672c 2+3\u00a0x") == [
        "hello,", "w\u00f6rld", "foo", "bar", "\u65e5", "\u672c", "2+3", "x",
    ]  # fmt: skip
    assert words(" \n\0 ") == []


def test_long_words_are_told_apart_by_every_byte():
    base = "x" * 61
    variants = [base[:i] + "y" + base[i + 1 :] for i in range(61)]
    variants += [base[:n] for n in range(1, 62)]
    tokens, counts = tokenize(pa.array(variants), 3)
    assert (counts == 1).all()
    assert len(set(tokens.tolist())) == len(variants) == 122


def test_slices_and_wide_offsets_read_the_same():
    whole = pa.array(["drop this", "One two THREE four", None, "", "five"])
    fill = shingles.fold(whole.slice(1))
    expected = tokenize(fill, 3)
    wide = tokenize(shingles.fold(whole.cast(pa.large_string()).slice(1)), 3)
    assert expected[1].tolist() == [2, 0, 0, 1]
    assert all((a == b).all() for a, b in zip(expected, wide, strict=True))


def test_borders_and_salt_keep_shingles_apart():
    def tokens(*texts, salt=None):
        salt = None if salt is None else np.array(salt, dtype=np.uint64)
        found, counts = tokenize(pa.array(texts), 3, salt)
        return [set(part.tolist()) for part in np.split(found, np.cumsum(counts)[:-1])]

    forward, backward, plain = tokens("a b c\x1ed e f", "d e f\x1ea b c", "a b c d e f")
    assert forward == backward
    assert forward < plain
    assert len(plain) == 4
    one, other, same = tokens("a b c", "a b c", "a b c", salt=[1, 2, 1])
    assert one == same
    assert not one & other


def test_files_give_the_same_as_memory(tmp_path: Path):
    texts = [f"one two three {i % 50} four five {i % 3} six seven" for i in range(300)]
    expected = near_text(arrays(texts), np.arange(300), 0.6)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(postings, "PART", 16)
        found = near_text(arrays(texts), np.arange(300), 0.6, spill=tmp_path)
    assert [x.tolist() for x in found] == [x.tolist() for x in expected]
    assert {path.name for path in tmp_path.iterdir()} > {"shingles", "postings-0", "postings-1"}


@pytest.fixture
def compared(monkeypatch) -> list[int]:
    """How many pairs each search has given so far, to be compared."""
    met, search = [], postings.GroupSearch.candidates

    def counted(self, heads, both_sides):
        for a, b in search(self, heads, both_sides):
            met.append(len(a))
            yield a, b

    monkeypatch.setattr(postings.GroupSearch, "candidates", counted)
    return met


def test_shared_shingles_and_copies_do_not_make_it_quadratic(compared):
    n = 10_000
    shared = [f"what is the x{i}" for i in range(n)]  # one shingle in every text
    copies = ["the very same text again"] * n
    near = [f"tell me all that you know about the history of rome please {i}" for i in range(n)]
    twin, _ = near_text(arrays(shared + copies + near), np.arange(3 * n), 0.8)
    assert (twin[:n] == -1).all()
    assert (twin[n + 1 : 2 * n] == n).all()
    assert (twin[2 * n + 1 :] == 2 * n).all()
    assert sum(compared) < 3 * n  # pair by pair it would be 4.5e8


def candidates(join: JaccardJoin, both_sides: bool) -> int:
    heads = np.arange(len(join.groups.number))
    return sum(len(a) for a, _ in join._search.candidates(heads, both_sides))


def test_texts_of_two_words_out_of_few_stay_cheap():
    rng = np.random.default_rng(0)
    texts = [f"w{a} w{b}" for a, b in rng.integers(0, 60, (6_000, 2)).tolist()]
    _, sets = shingle_sets(arrays(texts))
    for threshold, same in ((0.8, True), (0.5, False)):
        join = JaccardJoin(sets, threshold)
        met = candidates(join, both_sides=True)
        assert (met < 8 * len(texts)) == same  # some 7 others hold the same words, 400 one of them
    expected, _ = greedy(texts[:400], 0.8)
    assert near_text(arrays(texts), np.arange(len(texts)), 0.8)[0][:400].tolist() == expected


def test_a_shared_shingle_stays_cheap_at_a_low_threshold():
    n = 20_000
    _, sets = shingle_sets(arrays([f"what is the x{i}" for i in range(n)]))
    join = JaccardJoin(sets, 0.5)
    assert candidates(join, both_sides=True) < 10 * n
    assert (join.components() == np.arange(n)).all()


def test_near_copies_and_a_stranger_in_one_group_link_cheaply(compared):
    n = 5_000
    near = [f"tell me all that you know about the history of rome please {i}" for i in range(n)]
    stranger = ["about the history of all the rivers that flow through rome please tell"]
    _, sets = shingle_sets(arrays(stranger + near))
    root = JaccardJoin(sets, 0.8).components()
    assert sum(compared) < 3 * n  # not each with each
    assert root[0] == 0
    assert (root[1:] == 1).all()


def test_a_long_chain_is_settled_in_order():
    # Each text shares 8 of 10 shingles with the next: every second one stays.
    chain = [" ".join(f"w{k}" for k in range(i, i + 11)) for i in range(2_000)]
    twin, _ = near_text(arrays(chain), np.arange(len(chain)), 0.75)
    expected, _ = greedy(chain[:60], 0.75)
    assert twin[:60].tolist() == expected
    assert (twin[1::2] >= 0).all()
    assert (twin[::2] == -1).all()


def test_strangers_ahead_of_a_cluster_do_not_multiply_its_comparisons(monkeypatch):
    # Every text of the cluster has a shingle of each stranger's group among its rarest; the
    # best of the cluster is open until its group has come past the strangers.
    words_of = [f"s{i}a s{i}b common rare words here s{i}c" for i in range(300)]
    near = [
        f"common rare words here tell me all that you know about rome {i}" for i in range(2_000)
    ]
    texts = words_of + near
    expected, _ = near_text(arrays(texts), np.arange(len(texts)), 0.5)
    monkeypatch.setattr(set_join, "ROUND", 1 << 12)
    twin, _ = near_text(arrays(texts), np.arange(len(texts)), 0.5)
    assert twin.tolist() == expected.tolist()
    assert (twin[:300] == -1).all()
    assert (twin[301:] == 300).all()
