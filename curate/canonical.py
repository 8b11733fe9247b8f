"""The one form of a column's bytes, so that equal values have one content address."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.arrays import flat, lengths


def canonical(array: pa.Array) -> pa.Array:
    """Return an equal array whose buffers depend on its values alone.

    Equal arrays can differ in offsets, in spare bits, in an all-true validity bitmap and in
    what lies under their nulls. Arrow's kernels leave such traces, and a content address must
    not see them.
    """
    kind = array.type
    mask = _validity(array)
    n = len(array)
    if pa.types.is_struct(kind):
        fields = [canonical(pc.struct_field(array, f.name)) for f in kind]
        return pa.Array.from_buffers(kind, n, [mask], array.null_count, 0, fields)
    if pa.types.is_list(kind):
        counts, values = lengths(array), canonical(flat(array))
        return pa.Array.from_buffers(
            kind, n, [mask, _offsets(counts)], array.null_count, 0, [values]
        )
    if pa.types.is_fixed_size_list(kind):
        start = array.offset * kind.list_size
        values = array.values.slice(start, n * kind.list_size)
        if array.null_count:
            hidden = np.repeat(~_bits(array), kind.list_size)
            values = pc.if_else(pa.array(hidden), pa.scalar(0, kind.value_type), values)
        return pa.Array.from_buffers(kind, n, [mask], array.null_count, 0, [canonical(values)])
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        dense = array.drop_null() if array.null_count else array
        size = pc.fill_null(pc.binary_length(array), 0).to_numpy(zero_copy_only=False)
        return pa.Array.from_buffers(
            kind, n, [mask, _offsets(size), _text_bytes(dense)], array.null_count
        )
    if pa.types.is_boolean(kind):
        filled = np.asarray(pc.fill_null(array, False).to_numpy(zero_copy_only=False), dtype=bool)
        bits = pa.py_buffer(np.packbits(filled, bitorder="little").tobytes())
        return pa.Array.from_buffers(kind, n, [mask, bits], array.null_count)
    if pa.types.is_primitive(kind):
        filled = pc.fill_null(array, pa.scalar(0, kind)) if array.null_count else array
        width = kind.bit_width // 8
        data = (
            filled.buffers()[1].slice(filled.offset * width, n * width) if n else pa.py_buffer(b"")
        )
        return pa.Array.from_buffers(kind, n, [mask, data], array.null_count)
    raise TypeError(f"a column of type {kind} cannot be stored")


def _bits(array: pa.Array) -> npt.NDArray[np.bool_]:
    return np.asarray(array.is_valid().to_numpy(zero_copy_only=False), dtype=bool)


def _validity(array: pa.Array) -> pa.Buffer | None:
    if not array.null_count:
        return None
    return pa.py_buffer(np.packbits(_bits(array), bitorder="little").tobytes())


def _offsets(counts: npt.NDArray[Any] | Sequence[int]) -> pa.Buffer:
    offsets = np.zeros(len(counts) + 1, dtype=np.int64)
    np.cumsum(counts, out=offsets[1:])
    if offsets[-1] > np.iinfo(np.int32).max:
        raise OverflowError("a shard's column holds more than 2 GiB; use smaller shards")
    return pa.py_buffer(offsets.astype(np.int32))


def _text_bytes(array: pa.Array) -> pa.Buffer:
    """Return the bytes that a null-free string array's values cover."""
    _, offsets, data = array.buffers()
    if not len(array) or data is None:
        return pa.py_buffer(b"")
    ends = np.frombuffer(offsets, dtype=np.int32)[array.offset : array.offset + len(array) + 1]
    return data.slice(int(ends[0]), int(ends[-1] - ends[0]))
