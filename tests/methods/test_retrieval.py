import numpy as np

from curate.methods.retrieval import BLOCK, most_alike, neighbour_count


def test_the_card_of_how_many_neighbours():
    p = [0.3, 0.5, 0.51, 0.75, 0.9, 0.99, 1.0, np.nan]
    assert neighbour_count(p).tolist() == [8, 8, 4, 2, 1, 1, 1, 8]
    assert neighbour_count([0.5, 0.51], 3).tolist() == [3, 2]


def turned(*degrees):
    return np.array([[np.cos(np.radians(d)), np.sin(np.radians(d))] for d in degrees], np.float32)


def names(n):
    return np.array([str(k) for k in range(n)], dtype=object)


def test_the_most_alike_come_first_and_ties_by_place():
    rows = turned(0, 10, 30, 50, 31, 10)
    found = most_alike(rows, np.array([1, 2, 3, 5]), 3, names(6))
    assert found[0].tolist() == [1, 5, 2]
    assert found[1].tolist() == [5, 2, 3]  # never itself
    assert found[4].tolist() == [2, 3, 1]


def test_a_row_never_meets_its_own_prompt_and_zeros_meet_nothing():
    rows = turned(0, 1, 2, 3)
    rows[3] = 0
    own = np.array(["x", "x", "y", "z"], dtype=object)
    assert most_alike(rows, np.array([0, 1, 2, 3]), 2, own).tolist() == [
        [2, -1], [2, -1], [1, 0], [-1, -1],
    ]  # fmt: skip
    assert most_alike(rows, np.zeros(0, dtype=np.int64), 2, own).tolist() == [[-1, -1]] * 4


def test_the_search_is_that_of_all_cosines_over_several_blocks():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(BLOCK + 30, 8)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    labelled = np.arange(0, len(rows), 7)
    found = most_alike(rows, labelled, 5, names(len(rows)))
    for row in (0, BLOCK - 1, BLOCK + 29):
        cosine = rows[labelled] @ rows[row]
        cosine[labelled == row] = -1
        assert found[row].tolist() == labelled[np.argsort(-cosine)[:5]].tolist()
