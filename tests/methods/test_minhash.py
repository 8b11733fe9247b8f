import importlib.util

import numpy as np
import pyarrow as pa
import pytest

from curate.methods.minhash import (
    PERMUTATIONS,
    bands_for,
    lsh_probability,
    minhash_greedily,
)
from curate.methods.set_join import JaccardJoin
from curate.methods.shingles import shingle_sets
from curate.schema import PROMPT
from curate.stage import Context
from curate.stages.dedup import NearDedup

WORDS = [f"w{i}" for i in range(400)]


needs_datasketch = pytest.mark.skipif(
    importlib.util.find_spec("datasketch") is None, reason="needs the extra `minhash`"
)


def test_worked_numbers_of_the_bands():
    assert lsh_probability(0.8, 14, 8) == pytest.approx(0.9235, abs=5e-5)
    assert lsh_probability(0.7, 14, 8) == pytest.approx(0.5645, abs=5e-5)
    assert lsh_probability(0.8, 20, 13) == pytest.approx(0.6773, abs=5e-5)


@pytest.mark.parametrize(("bands", "rows", "knee"), [(14, 8, 0.7190), (20, 13, 0.7942)])
def test_at_its_knee_each_band_finds_a_pair_once_in_as_many_as_there_are(bands, rows, knee):
    """(1 / bands) ** (1 / rows) is where the chance rises."""
    assert lsh_probability(knee, bands, rows) == pytest.approx(
        1 - (1 - 1 / bands) ** bands, abs=3e-4
    )
    for other in (knee - 0.001, knee + 0.001):
        assert abs(lsh_probability(other, bands, rows) - (1 - (1 - 1 / bands) ** bands)) > 1e-3


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7, 0.8, 0.9, 1.0])
def test_bands_are_the_strictest_that_find_what_is_similar(threshold):
    bands, rows = bands_for(threshold)
    assert bands * rows <= 128
    assert lsh_probability(threshold, bands, rows) >= 0.95
    if rows < 128:
        assert lsh_probability(threshold, 128 // (rows + 1), rows + 1) < 0.95


def copies() -> list[str]:
    rng = np.random.default_rng(0)
    texts = []
    for _ in range(150):
        words = rng.choice(WORDS, 40).tolist()
        texts.append(" ".join(words))
        words[int(rng.integers(40))] = "changed"
        texts.append(" ".join(words))
    return texts


@needs_datasketch
def test_the_stage_counts_what_is_missed():
    turns = [[{"role": "user", "content": text}] for text in copies()]
    ids = [str(i) for i in range(len(turns))]
    view = pa.table({"id": ids, "prompt": pa.array(turns, PROMPT)})
    ctx = Context()
    found = NearDedup(method="minhash", threshold=0.85).apply(view, ctx)["drop"]
    exact = NearDedup(threshold=0.85).apply(view, Context())["drop"]
    there = len(exact) - exact.null_count
    assert ctx.counts["near-copies by the exact join"] == there > 50
    both = sum(a is not None and b is not None for a, b in zip(found, exact, strict=True))
    assert ctx.counts["near-copies by the exact join that minhash finds"] >= 0.9 * there
    assert both >= 0.9 * there


@needs_datasketch
def test_it_finds_most_of_what_the_exact_join_finds_and_nothing_else():
    texts = copies()
    _, sets = shingle_sets([pa.array(texts, pa.large_string())])
    exact, _ = JaccardJoin(sets, 0.7).keep_greedily()
    twin, similarity = minhash_greedily(sets, 0.7)
    truth, found = set(np.flatnonzero(exact >= 0)), set(np.flatnonzero(twin >= 0))
    assert len(truth) > 100
    assert found <= truth
    assert len(found) >= 0.85 * len(truth)
    assert (similarity[twin >= 0] >= 0.7).all()
    again, _ = minhash_greedily(sets, 0.7)
    assert (again == twin).all()


@needs_datasketch
def test_it_finds_what_datasketch_own_index_of_kept_sets_finds():
    from datasketch import MinHash, MinHashLSH

    _, sets = shingle_sets([pa.array(copies(), pa.large_string())])
    index = MinHashLSH(num_perm=PERMUTATIONS, params=bands_for(0.7))
    expected = []
    for place, (begin, count) in enumerate(zip(sets.begin, sets.counts, strict=True)):
        own = sets.tokens[begin : begin + count]
        signature = MinHash(num_perm=PERMUTATIONS, seed=1, hashfunc=int)
        signature.update_batch((own & np.uint64(0xFFFFFFFF)).tolist())
        best, found = -1, 0.0
        for other in sorted(index.query(signature)):
            theirs = sets.tokens[sets.begin[other] : sets.begin[other] + sets.counts[other]]
            both = len(np.intersect1d(own, theirs))
            jaccard = both / (len(own) + len(theirs) - both)
            if jaccard >= 0.7 and jaccard > found:
                best, found = other, jaccard
        if best < 0:
            index.insert(place, signature)
        expected.append(best)
    assert max(expected) >= 0
    assert minhash_greedily(sets, 0.7)[0].tolist() == expected
