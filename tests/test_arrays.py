import numpy as np

from curate.arrays import owners, places_of, starts_of


def test_owners_starts_and_places_of_lists_some_of_them_empty():
    counts = np.array([2, 0, 3])
    assert owners(counts).tolist() == [0, 0, 2, 2, 2]
    assert starts_of(counts).tolist() == [0, 2, 2]
    assert places_of(counts).tolist() == [0, 1, 0, 1, 2]
    assert places_of(np.zeros(0, dtype=np.int64)).tolist() == []
