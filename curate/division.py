"""How a stage that sees every row divides its work among workers that share only a folder.

Most stages that see the whole dataset need few of its bytes at once: a reduced form of each row
(hashes, counts), then whatever lies under one key. A stage that can be taken apart like this says
so by a `Division`: steps one after another, each of pieces that may run at once and anywhere. A
piece is handed the rows of one span of shards, or reads what earlier steps left in the folder. It
leaves files there, and it may run twice: after the loss of its worker it is run again. Between two
steps the division itself runs, in one process. At the end each span gets its result. Pieces are
numbers and files, so an executor can run them wherever the folder is seen.

The result must be, byte for byte, that of the stage's `apply` over all rows, however many spans
there are.
"""

from __future__ import annotations

import uuid
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.arrays import Column, one_chunk
from curate.disk import writing
from curate.errors import StoreError

Columns: TypeAlias = Mapping[str, pa.Array | pa.ChunkedArray]
MOST_PART_BITS = 6  # 64 parts
AGAIN = "run the same command again, and the stage begins anew"
USED = "vectors used"  # ends the names of files that say so


@dataclass(frozen=True)
class Piece:
    """One piece of a step: the step's name and the piece's number in it, from 0.

    With `reads` it is handed the rows of the span of that number.
    """

    step: str
    number: int
    reads: bool = False


@dataclass(frozen=True)
class Space:
    """Where the pieces of one stage meet: a folder that every worker sees, and the spans of rows.

    `first` holds the number of each span's first row among all, and then that of all rows. `seed`
    is the run's, and `vectors` the folder in which its store keeps vectors by their texts, if it
    does. Every name of a file begins with `prefix`: parts of a division that know nothing of each
    other keep their files apart by it.
    """

    folder: Path
    first: tuple[int, ...]
    seed: int = 0
    vectors: Path | None = None
    prefix: str = ""

    @property
    def spans(self) -> int:
        """Number of spans."""
        return len(self.first) - 1

    @property
    def part_bits(self) -> int:
        """Of how many bits the number of a part is, where work is cut by a key and not by rows."""
        return min(MOST_PART_BITS, (self.spans - 1).bit_length())

    def reading(self, step: str) -> list[Piece]:
        """Return the pieces of a step that reads every row: one a span."""
        return [Piece(step, number, reads=True) for number in range(self.spans)]

    def save(self, name: str, number: int, values: npt.NDArray[Any] | Column) -> None:
        """Keep an array of numbers or an Arrow array for later steps; a second time replaces it.

        Raises StoreError where the disk refuses.
        """
        scratch = self.folder / f".{uuid.uuid4().hex}"
        with writing(self.folder):
            if isinstance(values, np.ndarray):
                with scratch.open("wb") as file:
                    np.save(file, values, allow_pickle=False)
            else:
                batch = pa.record_batch({"values": one_chunk(values)})
                with pa.ipc.new_file(str(scratch), batch.schema) as file:
                    file.write_batch(batch)
            scratch.replace(self._path(name, number, values))

    def save_all(
        self, what: str, number: int, values: Mapping[str, npt.NDArray[Any] | Column]
    ) -> None:
        """Keep several arrays, as "what NAME" each, and their names."""
        self.save(what, number, pa.array(list(values), pa.string()))
        for name, one in values.items():
            self.save(f"{what} {name}", number, one)

    def load(self, name: str, number: int = 0) -> npt.NDArray[Any]:
        """Return an array of numbers as it was kept, mapped from its file."""
        path = self._file(f"{name}-{number}.npy")
        try:
            return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
        except (OSError, ValueError, EOFError) as error:
            raise StoreError(f"cannot read {path}: {error}; {AGAIN}") from error

    def all_of(self, name: str, count: int) -> npt.NDArray[Any]:
        """Return the arrays of pieces 0 to `count` - 1, at least one, joined at their last axis."""
        return np.concatenate([self.load(name, number) for number in range(count)], axis=-1)

    def join(self, name: str) -> npt.NDArray[Any]:
        """Put the spans' arrays into one file, number 0 of the name "... of all"; return it.

        They go one below the other and one by one, so that memory holds one of them at most.
        Empty ones may lack the others' width.
        """
        arrays = [self.load(name, number) for number in range(self.spans)]
        arrays = [array for array in arrays if len(array)] or arrays[:1]
        shape = (sum(map(len, arrays)), *arrays[0].shape[1:])
        scratch = self.folder / f".{uuid.uuid4().hex}"
        with writing(self.folder):
            with scratch.open("wb") as file:
                head = {"shape": shape, "fortran_order": False, "descr": arrays[0].dtype.str}
                np.lib.format.write_array_header_1_0(file, head)  # type: ignore[no-untyped-call]
                for array in arrays:
                    file.write(np.ascontiguousarray(array).data)
            scratch.replace(self._file(f"{name} of all-0.npy"))
            for number in range(self.spans):
                self._file(f"{name}-{number}.npy").unlink(missing_ok=True)
        return self.load(f"{name} of all")

    def rename(self, name: str, new: str) -> None:
        """Give number 0 of a name's arrays of numbers another name."""
        with writing(self.folder):
            self._file(f"{name}-0.npy").replace(self._file(f"{new}-0.npy"))

    def keep_counts(self, counts: Mapping[str, int]) -> None:
        """Keep what the stage counts over all rows."""
        self.save("count names", 0, pa.array(list(counts), pa.string()))
        self.save("counts", 0, np.array(list(counts.values()), dtype=np.int64))

    def counts(self) -> dict[str, int]:
        """Return what was kept by `keep_counts`; nothing where nothing was."""
        if not self._file("counts-0.npy").exists():
            return {}
        names = self.text("count names").to_pylist()
        return dict(zip(names, self.load("counts").tolist(), strict=True))

    def keep_used(self, files: Iterable[str]) -> None:
        """Note which files of `vectors` a piece used: the first part's record will name them."""
        names = sorted(files)
        if names:
            self.save(f"{uuid.uuid4().hex} {USED}", 0, pa.array(names, pa.string()))

    def used(self) -> set[str]:
        """Return what was noted by `keep_used`, under any prefix."""
        found = sorted(path.stem.removesuffix("-0") for path in self.folder.glob(f"*{USED}-0.*"))
        own = replace(self, prefix="")
        return {name for file in found for name in own.text(file).to_pylist()}

    def text(self, name: str, number: int = 0) -> pa.Array:
        """Return an Arrow array as it was kept, mapped from its file."""
        path = self._file(f"{name}-{number}.arrow")
        try:
            with pa.memory_map(str(path)) as source:
                table = pa.ipc.open_file(source.read_buffer()).read_all()
        except (OSError, pa.ArrowInvalid) as error:
            raise StoreError(f"cannot read {path}: {error}; {AGAIN}") from error
        return one_chunk(table["values"])

    def texts(self, name: str) -> pa.ChunkedArray:
        """Return the Arrow arrays of every span, one chunk each, mapped from their files."""
        return pa.chunked_array([self.text(name, number) for number in range(self.spans)])

    def either(self, name: str, number: int) -> npt.NDArray[Any] | pa.Array:
        """Return what was kept under the name and number, of either kind."""
        there = self._file(f"{name}-{number}.arrow").exists()
        return self.text(name, number) if there else self.load(name, number)

    def gathered(self, name: str) -> npt.NDArray[Any] | pa.ChunkedArray:
        """Return what every span has kept under the name, joined, of either kind."""
        there = self._file(f"{name}-0.arrow").exists()
        return self.texts(name) if there else self.all_of(name, self.spans)

    def load_all(self, what: str, number: int) -> dict[str, npt.NDArray[Any] | pa.Array]:
        """Return what `save_all` kept under the number."""
        names = self.text(what, number).to_pylist()
        return {name: self.either(f"{what} {name}", number) for name in names}

    def gather_all(self, what: str) -> dict[str, npt.NDArray[Any] | pa.ChunkedArray]:
        """Return what `save_all` kept of every span, joined."""
        return {name: self.gathered(f"{what} {name}") for name in self.text(what).to_pylist()}

    def _path(self, name: str, number: int, values: object) -> Path:
        ending = "npy" if isinstance(values, np.ndarray) else "arrow"
        return self._file(f"{name}-{number}.{ending}")

    def _file(self, name: str) -> Path:
        return self.folder / f"{self.prefix}{name}"


def pick(column: Column, index: npt.NDArray[np.int64]) -> pa.Array:
    """Return the values at `index` (n); Arrow's own `take` would join all chunks first."""
    if isinstance(column, pa.Array):
        return column.take(pa.array(index))
    order = np.argsort(index, kind="stable")
    ends = np.cumsum([0, *(len(chunk) for chunk in column.chunks)])
    cuts = np.searchsorted(index[order], ends)
    parts = [
        chunk.take(pa.array(index[order[start:stop]] - first))
        for chunk, first, start, stop in zip(
            column.chunks, ends[:-1], cuts[:-1], cuts[1:], strict=True
        )
    ]
    back = np.empty(len(order), dtype=np.int64)
    back[order] = np.arange(len(order))
    return pa.concat_arrays(parts).take(pa.array(back))


class Division(ABC):
    """A stage's work, taken apart; see the module's docstring."""

    @abstractmethod
    def steps(self, space: Space) -> Iterator[Sequence[Piece]]:
        """Yield the pieces of one step after another; a step's files are there after its yield."""

    @abstractmethod
    def work(self, piece: Piece, view: pa.Table | None, space: Space) -> None:
        """Do one piece; `view` holds the rows of its span if it reads them."""

    @abstractmethod
    def finished(self, span: int, view: pa.Table, space: Space) -> Columns:
        """Return what `apply` would for the rows of one span."""

    def result(self, span: int, view: pa.Table, space: Space, counts: Counter[str]) -> Columns:
        """Return the same; with span 0, count what the steps have kept by `keep_counts`."""
        if not span:
            counts.update(space.counts())
        return self.finished(span, view, space)
