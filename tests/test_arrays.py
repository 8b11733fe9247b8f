import numpy as np
import pytest

from curate.arrays import load_polars, owners, places_of, starts_of


def test_owners_starts_and_places_of_lists_some_of_them_empty():
    counts = np.array([2, 0, 3])
    assert owners(counts).tolist() == [0, 0, 2, 2, 2]
    assert starts_of(counts).tolist() == [0, 2, 2]
    assert places_of(counts).tolist() == [0, 1, 0, 1, 2]
    assert places_of(np.zeros(0, dtype=np.int64)).tolist() == []


def test_a_polars_that_is_there_in_part_is_no_polars(monkeypatch):
    """Its import passes over a library that did not load."""
    import polars

    def lost(values):
        raise NameError("name 'PySeries' is not defined")

    monkeypatch.setattr(polars, "Series", lost)
    load_polars.cache_clear()
    with pytest.raises(MemoryError, match="polars"):
        load_polars()
    load_polars.cache_clear()
