import numpy as np
import pyarrow as pa
import pytest
import xxhash

from curate.arrays import hashes, load_polars, owners, places_of, starts_of


def test_owners_starts_and_places_of_lists_some_of_them_empty():
    counts = np.array([2, 0, 3])
    assert owners(counts).tolist() == [0, 0, 2, 2, 2]
    assert starts_of(counts).tolist() == [0, 2, 2]
    assert places_of(counts).tolist() == [0, 1, 0, 1, 2]
    assert places_of(np.zeros(0, dtype=np.int64)).tolist() == []


@pytest.mark.parametrize("longest", [8, 5000])  # copied at once, or cut out one by one
@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_a_text_has_one_hash_however_it_is_held(kind, longest):
    texts = ["a" * longest, None, "", "é" * longest, "b"]
    expected = [xxhash.xxh3_64_intdigest((text or "").encode(), 7) for text in texts]
    column = pa.array(texts, kind)
    assert hashes(column, 7).tolist() == expected
    assert hashes(column.slice(1, 3), 7).tolist() == expected[1:4]
    assert hashes(pa.chunked_array([column[:2], column[2:]]), 7).tolist() == expected


def test_no_text_has_no_hash():
    for column in (
        pa.array([], pa.string()),
        pa.array(["long" * 999])[:0],
        pa.chunked_array([[]], pa.string()),
    ):
        assert hashes(column).tolist() == []


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
