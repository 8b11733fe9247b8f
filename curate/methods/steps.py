"""Solutions as sequences of steps: the tree that they form, what its branches are worth.

Solutions of one problem that begin with the same steps share a node of the tree. A node's value is
the share of the solutions through it that end right, which is what Math-Shepherd estimates with
completions from a step (Wang et al. 2024) and MCTS-DPO with its search (Xie et al. 2024); here it
does not matter whether a solution was sampled whole or completed from a prefix of another.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

By = Literal["line", "paragraph"]
Path = tuple[str, ...]

_BREAKS = {"line": re.compile(r"\n"), "paragraph": re.compile(r"\n[ \t]*\n")}


class Step(NamedTuple):
    """One step of a text: `text[start:end]`, without the white space around it."""

    start: int
    end: int


class Node(NamedTuple):
    """How many solutions pass through a step, and how many of those end right."""

    tries: int
    right: int

    @property
    def value(self) -> float:
        """The share that ends right."""
        return self.right / self.tries


class StepPair(NamedTuple):
    """A node where solutions part: a better next step and a worse one, with their counts.

    `chosen` and `rejected` are indexes of solutions, `shared` the number of steps before.
    """

    chosen: int
    rejected: int
    shared: int
    better: Node
    worse: Node


def steps_of(text: str, by: By = "line") -> list[Step]:
    """Return the text's steps in order: its lines, or its paragraphs; empty ones do not count."""
    found, start = [], 0
    for end, following in [*((m.start(), m.end()) for m in _BREAKS[by].finditer(text)), (-1, -1)]:
        piece = text[start:] if end < 0 else text[start:end]
        left = len(piece) - len(piece.lstrip())
        if piece.strip():
            found.append(Step(start + left, start + len(piece.rstrip())))
        start = following
    return found


def path_of(text: str, by: By = "line") -> Path:
    """Return the steps' texts by which solutions are compared: white space within them is one."""
    return tuple(" ".join(text[start:end].split()) for start, end in steps_of(text, by))


def tree(paths: Sequence[Path], right: Sequence[bool | None]) -> dict[Path, Node]:
    """Return the node of every prefix of the solutions; those whose outcome is None do not count.

    The empty prefix is the root.
    """
    nodes: dict[Path, Node] = {}
    for path, well in zip(paths, right, strict=True):
        if well is None:
            continue
        for size in range(len(path) + 1):
            tries, ended = nodes.get(path[:size], Node(0, 0))
            nodes[path[:size]] = Node(tries + 1, ended + well)
    return nodes


def step_labels(
    path: Path, nodes: dict[Path, Node], well: bool | None, share: float = 0.0, min_tries: int = 1
) -> list[bool | None]:
    """Return whether each step of a solution is right: more than `share` of the solutions that
    begin so end right.

    With share 0 that is Math-Shepherd's hard estimation: one is enough. None where fewer than
    `min_tries` solutions begin so, which is too few to say that none ends right; but the last step
    of a solution whose outcome is known is right or wrong as the solution is.
    """
    labels: list[bool | None] = []
    for size in range(1, len(path) + 1):
        node = nodes.get(path[:size], Node(0, 0))
        if node.right and not share:
            labels.append(True)
        elif size == len(path) and well is not None:
            labels.append(well)
        elif node.tries < max(min_tries, 1):
            labels.append(None)
        else:
            labels.append(node.value > share)
    return labels


def longest_known(labelled: Sequence[tuple[Path, Sequence[bool | None]]]) -> list[int]:
    """Return how many first steps of each solution to keep, 0 where another one has them all.

    Labels count up to the first that is None. What is the beginning of another kept solution, or
    equal to an earlier one, says nothing new.
    """
    known = []
    for path, labels in labelled:
        size = next((k for k, label in enumerate(labels) if label is None), len(labels))
        known.append(path[:size])
    inner = {path[:size] for path in known for size in range(len(path))}
    seen: set[Path] = set()
    kept = []
    for path in known:
        fresh = bool(path) and path not in inner and path not in seen
        seen.add(path)
        kept.append(len(path) if fresh else 0)
    return kept


def step_pairs(
    paths: Sequence[Path],
    right: Sequence[bool | None],
    at_most: float = 0.0,
    at_least: float = 0.0,
    min_tries: int = 1,
    against: Literal["worst", "second"] = "worst",
) -> list[StepPair]:
    """Return, for each node where solutions part, its best next step against its worst.

    The worse step's value is at most `at_most`, with 0 a step after which nothing ended right, and
    so the first wrong one (Step-DPO, Lai et al. 2024); at least `min_tries` solutions pass through
    it, as fewer do not show that. The values are more than `at_least` apart. With `against`
    "second" the best of such steps is taken instead of the worst (MCTS-DPO, Xie et al. 2024). A
    step stands for a solution through it: the chosen one for the first that ends right, the
    rejected one for the first that ends wrong. Nodes come in order of depth, then of first
    appearance; of equal values the step that more solutions take wins, then the earlier one.
    """
    nodes = tree(paths, right)
    branches: dict[Path, dict[str, None]] = {}
    for path, well in zip(paths, right, strict=True):
        for size in range(len(path) if well is not None else 0):
            branches.setdefault(path[:size], {})[path[size]] = None
    pairs = []
    for prefix, following in sorted(branches.items(), key=lambda item: len(item[0])):
        ways = [(*prefix, step) for step in following]
        best, *others = sorted(ways, key=lambda way: (-nodes[way].value, -nodes[way].tries))
        worse = [
            way
            for way in others
            if nodes[way].tries >= min_tries
            and nodes[way].value <= at_most
            and nodes[best].value - nodes[way].value > at_least
        ]
        if not worse:
            continue
        worst = min(worse, key=lambda way: (nodes[way].value, -nodes[way].tries))
        other = worse[0] if against == "second" else worst
        chosen, rejected = _through(best, paths, right, True), _through(other, paths, right, False)
        if chosen is not None and rejected is not None:
            pairs.append(StepPair(chosen, rejected, len(prefix), nodes[best], nodes[other]))
    return pairs


def _through(
    way: Path, paths: Sequence[Path], right: Sequence[bool | None], wanted: bool
) -> int | None:
    """Return the first solution through a node that ends as wanted."""
    for place, (path, well) in enumerate(zip(paths, right, strict=True)):
        if well is wanted and path[: len(way)] == way:
            return place
    return None


def label_confidence(n_chosen: int, n_rejected: int) -> float | None:
    """Return 1 / (1 + n_rejected / max(1, n_chosen)): how often the chosen step was taken.

    MCTS-DPO's confidence in a label, from the visits of both steps (Xie et al. 2024), whose loss is
    smoothed by min(1 - confidence, 0.5). None where neither was visited: the formula gives 1.
    """
    if not n_chosen and not n_rejected:
        return None
    return 1.0 / (1.0 + n_rejected / max(1, n_chosen))
