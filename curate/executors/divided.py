"""A stage that sees every row, done in pieces: any executor's workers, one folder that all see.

The folder lies in the store, which every worker sees, and goes at the end. What a run leaves that
was killed here is swept with the other leftovers (`curate gc`), and the stage starts anew.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np

from curate.disk import writing
from curate.division import Division, Piece, Space
from curate.store import PIECES, VECTORS, Record, Store
from curate.work import Shard, Task

MOST_ROWS = 1 << 17  # of a span, and so in the memory of one worker
Answers = Iterator[tuple[Task, list[Record]]]


def in_pieces(
    each: Callable[[Sequence[Task]], Answers],
    division: Division,
    store: Store,
    task: Task,
    spans: int,
    seed: int,
) -> Answers:
    """Do the work of `task`, over all shards, by `each`, in about `spans` spans of shards.

    Yields the tasks of the last step, which commit the parts. Ends early where `each` does.
    """
    cuts = cut(task.shards, spans)
    first = np.cumsum([0, *(shard.rows for shard in task.shards)])
    with _folder(store) as folder:
        first_rows = tuple(first[list(cuts)].tolist())
        space = Space(folder, first_rows, seed, store.root.absolute() / VECTORS)

        def part(piece: Piece) -> Task:
            shards = task.shards[cuts[piece.number] : cuts[piece.number + 1]] if piece.reads else ()
            return Task(shards, (), space, piece=piece)

        for step in division.steps(space):
            if sum(1 for _ in each([part(piece) for piece in step])) < len(step):
                return  # asked to stop
        yield from each(
            [
                Task(task.shards[start:stop], task.keys[start:stop], space, span)
                for span, (start, stop) in enumerate(pairwise(cuts))
            ]
        )


def cut(shards: Sequence[Shard], spans: int) -> tuple[int, ...]:
    """Return where spans of about equally many rows begin, and the number of shards."""
    ends = np.cumsum([shard.rows for shard in shards])
    rows = min(MOST_ROWS, max(1, -(-int(ends[-1]) // spans)))
    number = np.maximum(ends - 1, 0) // rows
    return (0, *(np.flatnonzero(np.diff(number)) + 1).tolist(), len(shards))


@contextmanager
def _folder(store: Store) -> Iterator[Path]:
    folder = store.root.absolute() / PIECES / uuid.uuid4().hex
    with writing(folder):
        folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
