"""Nested Arrow columns without Python loops: lists, conversations, texts and their hashes."""

from __future__ import annotations

from binascii import hexlify
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Column: TypeAlias = pa.Array | pa.ChunkedArray
Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]
Bools: TypeAlias = npt.NDArray[np.bool_]


def one_chunk(column: Column) -> pa.Array:
    """Return the column as one array; copied only where it has several chunks.

    The array may be a slice: where code reads buffers, it must mind `array.offset`.
    """
    if isinstance(column, pa.ChunkedArray):
        if column.num_chunks == 1:
            return column.chunk(0)
        return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    return column


def concat(arrays: Sequence[pa.Array]) -> pa.Array:
    """Return the arrays one after another; a single one is not copied."""
    return arrays[0] if len(arrays) == 1 else pa.concat_arrays(arrays)


def lengths(column: Column) -> npt.NDArray[np.int64]:
    """Return each list's length; a null list counts as empty."""
    counts = one_chunk(pc.fill_null(pc.list_value_length(column), 0))
    return np.asarray(counts.to_numpy(zero_copy_only=False), dtype=np.int64)


def flat(column: Column, name: str | None = None) -> pa.Array:
    """Return the values of all lists one after another, or field `name` of those structs."""
    if name is not None and isinstance(column, pa.ChunkedArray):
        # One field at a time: joined, the texts of a whole dataset pass 2 GiB.
        parts = [flat(chunk, name) for chunk in column.chunks]
        return one_chunk(pa.chunked_array(parts, column.type.value_type.field(name).type))
    values = one_chunk(column).flatten()  # leaves out what null lists hide
    return values if name is None else pc.struct_field(values, name)


def lists(counts: npt.ArrayLike, values: pa.Array) -> pa.Array:
    """Return the list column whose lists take `counts` values each from `values`."""
    offsets = np.zeros(len(np.asarray(counts)) + 1, dtype=np.int32)
    np.cumsum(counts, out=offsets[1:])
    return pa.ListArray.from_arrays(pa.array(offsets), values)


def owners(counts: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Return, for each flattened value, the row it belongs to."""
    counts = np.asarray(counts)
    return np.repeat(np.arange(len(counts)), counts)


def starts_of(counts: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Return where each list starts among the flattened values."""
    counts = np.asarray(counts)
    return np.asarray(np.cumsum(counts) - counts)


def places_of(counts: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Return, for each flattened value, its place within its list: 0, 1, ..., count - 1."""
    counts = np.asarray(counts)
    return np.arange(int(counts.sum())) - np.repeat(starts_of(counts), counts)


def set_field(values: pa.StructArray, name: str, column: pa.Array) -> pa.StructArray:
    """Return the struct array with one field replaced."""
    fields = [column if f.name == name else pc.struct_field(values, f.name) for f in values.type]
    return pa.StructArray.from_arrays(fields, fields=list(values.type))


def structs(type_: pa.StructType, size: int, **columns: Any) -> pa.StructArray:
    """Build a struct array of `size` from named columns: an array, a sequence, a scalar or None."""
    fields = []
    for f in type_:
        value = columns.pop(f.name, None)
        if isinstance(value, pa.Array):
            fields.append(value.cast(f.type) if value.type != f.type else value)
        elif value is None or isinstance(value, str | int | float):
            fields.append(pa.repeat(pa.scalar(value, f.type), size))
        else:
            fields.append(pa.array(value, f.type, from_pandas=False))
    if columns:
        raise TypeError(f"no such field: {sorted(columns)}")
    return pa.StructArray.from_arrays(fields, fields=list(type_))


def concat_lists(first: Column, second: Column) -> pa.Array:
    """Join two list columns row by row: row i holds first[i] followed by second[i]."""
    n_first, n_second = lengths(first), lengths(second)
    values = pa.concat_arrays([flat(first), flat(second)])
    totals = n_first + n_second
    starts = starts_of(totals)
    where = np.empty(len(values), dtype=np.int64)
    size = int(n_first.sum())
    for counts, shift, base in ((n_first, starts, 0), (n_second, starts + n_first, size)):
        local = places_of(counts)
        where[np.repeat(shift, counts) + local] = base + np.arange(int(counts.sum()))
    return lists(totals, values.take(pa.array(where)))


def messages_of(prompt: Column) -> list[list[dict[str, str]]]:
    """Return the conversations as Python lists of {"role", "content"}."""
    roles, contents = flat(prompt, "role").to_pylist(), flat(prompt, "content").to_pylist()
    turns = [{"role": r, "content": c} for r, c in zip(roles, contents, strict=True)]
    ends = np.cumsum(lengths(prompt)).tolist()
    starts = [0, *ends][: len(ends)]  # no row has no start
    return [turns[a:b] for a, b in zip(starts, ends, strict=True)]


def conversations(
    roles: Sequence[str], turns: Sequence[Sequence[str | pa.Array]], rows: int
) -> pa.Array:
    """Return conversations of one message a role, each joined from columns and constant texts.

    Everything is joined once, a row's messages one after another, and then only cut apart:
    prompts are long, and each copy of them costs.
    """
    sizes = np.zeros((rows, len(turns)), dtype=np.int64)
    for place, pieces in enumerate(turns):
        for piece in pieces:
            sizes[:, place] += (
                len(piece.encode()) if isinstance(piece, str) else pc.binary_length(piece)
            )
    nothing = pa.array([""], pa.large_string()).take(pa.array(np.zeros(rows, dtype=np.int64)))
    _, _, data = join_texts(nothing, *(piece for pieces in turns for piece in pieces)).buffers()
    ends = np.zeros(sizes.size + 1, dtype=np.int64)
    np.cumsum(sizes.ravel(), out=ends[1:])
    content = pa.LargeStringArray.from_buffers(sizes.size, pa.py_buffer(ends), data)
    role = pa.array(roles, pa.string()).take(pa.array(np.tile(np.arange(len(roles)), rows)))
    messages = pa.StructArray.from_arrays([role, content], ["role", "content"])
    return lists(np.full(rows, len(roles)), messages)


def take_rows(column: pa.Array, rows: npt.NDArray[np.int64]) -> pa.Array:
    """Return `column[rows]`, without a copy where that is the column itself."""
    if len(rows) == len(column) and np.array_equal(rows, np.arange(len(rows))):
        return column
    return column.take(pa.array(rows))


def text_of(prompt: Column) -> pa.Array:
    """Return each conversation as one text: its turns' contents joined by a newline."""
    counts, contents = lengths(prompt), flat(prompt, "content")
    if len(counts) == len(contents) and (counts == 1).all():
        return contents
    return pc.binary_join(lists(counts, contents), "\n")


def last_turn(prompt: Column) -> pa.Array:
    """Return the content of each conversation's last message; null for an empty one."""
    counts = lengths(prompt)
    ends = np.cumsum(counts) - 1
    return flat(prompt, "content").take(pa.array(ends, mask=counts == 0))


def large(column: Column) -> pa.Array:
    """Return a text column with 64-bit offsets, so that what is built from it may pass 2 GiB."""
    return one_chunk(column).cast(pa.large_string())


@dataclass(frozen=True)
class Pieces:
    """A column of texts that are not joined yet, so that long ones are copied once, at the end.

    `parts` are columns of large_string, and texts that stand for a whole column.
    """

    parts: tuple[str | pa.Array, ...]

    def take(self, rows: npt.NDArray[np.int64]) -> Pieces:
        """Return the texts of the rows."""
        return Pieces(tuple(p if isinstance(p, str) else take_rows(p, rows) for p in self.parts))


def join_texts(*pieces: str | pa.Array | Pieces) -> pa.Array:
    """Join columns of large_string, and texts that stand for a whole column, row by row.

    Null where a column is.
    """
    parts = (part for p in pieces for part in (p.parts if isinstance(p, Pieces) else (p,)))
    typed = [pa.scalar(p, pa.large_string()) if isinstance(p, str) else p for p in parts]
    return pc.binary_join_element_wise(*typed, pa.scalar("", pa.large_string()))


def hashes(texts: Column, seed: int = 0) -> npt.NDArray[np.uint64]:
    """Return xxh3_64 of each text; null reads as ""."""
    known = pc.fill_null(large(texts), "") if texts.null_count else large(texts)
    frame = load_polars().Series("text", known).to_frame()
    from polars_hash import col

    return np.asarray(frame.select(col("text").nchash.xxh3_64(seed=seed))["text"].to_numpy())


def hexadecimal(numbers: npt.NDArray[np.uint64]) -> pa.Array:
    """Return each number as 16 digits, as large_string."""
    text = hexlify(numbers.astype(">u8").tobytes())
    ends = np.arange(0, len(text) + 1, 16, dtype=np.int64)
    return pa.LargeStringArray.from_buffers(len(numbers), pa.py_buffer(ends), pa.py_buffer(text))


def map_distinct(texts: Column, change: Callable[[Any], Any], kind: pa.DataType) -> pa.Array:
    """Return `change` of every value, called once for each distinct one (null included)."""
    coded = one_chunk(texts).dictionary_encode(null_encoding="encode")
    return pa.array([change(v) for v in coded.dictionary.to_pylist()], kind).take(coded.indices)


def mix(*parts: npt.ArrayLike) -> npt.NDArray[np.uint64]:
    """Return one well-spread 64-bit number for each row of numbers (splitmix64, chained)."""
    state: Any = np.uint64(0)
    with np.errstate(over="ignore"):
        for part in parts:
            state = (state ^ np.asarray(part).astype(np.uint64)) + np.uint64(0x9E3779B97F4A7C15)
            state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            state = state ^ (state >> np.uint64(31))
    return np.asarray(state)


def plain_type(kind: pa.DataType) -> pa.DataType | None:
    """Return the type in which such values are stored, or None where they cannot be.

    Numbers, booleans, times, texts, bytes, and lists and structs of these are stored. Of layouts
    that hold the same values (64-bit offsets, views, dictionaries) the plain one is.
    """
    of = pa.types
    if of.is_dictionary(kind):
        return plain_type(kind.value_type)
    if of.is_string(kind) or of.is_large_string(kind) or of.is_string_view(kind):
        return pa.string()
    if of.is_binary(kind) or of.is_large_binary(kind) or of.is_binary_view(kind):
        return pa.binary()
    if of.is_struct(kind):
        fields = [(field.name, plain_type(field.type)) for field in kind]
        if any(inner is None for _, inner in fields):
            return None
        same = all(inner == field.type for field, (_, inner) in zip(kind, fields, strict=True))
        return kind if same else pa.struct(fields)
    if of.is_list(kind) or of.is_large_list(kind):
        inner = plain_type(kind.value_type)
        same = of.is_list(kind) and inner == kind.value_type
        if inner is None:
            return None
        return kind if same else pa.list_(inner)
    number = kind.value_type if of.is_fixed_size_list(kind) else kind
    return kind if of.is_primitive(number) and not of.is_interval(number) else None


@cache
def load_polars() -> Any:
    """Return polars. Raises MemoryError where its library did not load, which its import hides."""
    import polars

    try:
        polars.Series([0])
    except NameError as error:
        raise MemoryError("no room for polars' library, or it is broken") from error
    return polars
