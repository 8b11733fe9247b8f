import numpy as np

from curate.methods import retrieval
from curate.methods.retrieval import BLOCK, most_alike, neighbour_count


def test_the_card_of_how_many_neighbours():
    p = [0.3, 0.5, 0.51, 0.75, 0.9, 0.99, 1.0, np.nan]
    assert neighbour_count(p).tolist() == [8, 8, 4, 2, 1, 1, 1, 8]
    assert neighbour_count([0.5, 0.51], 3).tolist() == [3, 2]


def turned(*degrees):
    return np.array([[np.cos(np.radians(d)), np.sin(np.radians(d))] for d in degrees], np.float32)


def test_the_most_alike_come_first_and_ties_by_place():
    rows = turned(0, 10, 30, 50, 31, 10)
    items = np.array([1, 2, 3, 5])
    found = most_alike(rows, rows[items], 3, np.arange(6), items)
    assert items[found[0]].tolist() == [1, 5, 2]
    assert items[found[1]].tolist() == [5, 2, 3]  # never itself
    assert items[found[4]].tolist() == [2, 3, 1]


def test_a_row_never_meets_its_own_prompt_and_zeros_meet_nothing():
    rows = turned(0, 1, 2, 3)
    rows[3] = 0
    own = [7, 7, 8, 9]
    assert most_alike(rows, rows, 2, own, own).tolist() == [[2, -1], [2, -1], [1, 0], [-1, -1]]
    assert most_alike(rows, rows[:0], 2, own, []).tolist() == [[-1, -1]] * 4
    assert most_alike(rows[:0], rows, 2, [], own).shape == (0, 2)
    assert most_alike(rows, rows[:1], 2, own, [0]).tolist() == [[0, -1]] * 3 + [[-1, -1]]


def test_the_search_is_that_of_all_cosines_over_several_blocks(monkeypatch):
    monkeypatch.setattr(retrieval, "ITEMS", 50)
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(BLOCK + 30, 8)).astype(np.float32)
    rows[100:200] = rows[:100]  # ties within a block of items and between them
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    items = np.arange(0, len(rows), 2)
    found = items[most_alike(rows, rows[items], 5, np.arange(len(rows)), items)]
    for row in (0, 4, 150, BLOCK - 1, BLOCK + 29):
        cosine = np.round(rows[items].astype(float) @ rows[row].astype(float), 6)
        cosine[items == row] = -1
        assert found[row].tolist() == items[np.argsort(-cosine, kind="stable")[:5]].tolist()
