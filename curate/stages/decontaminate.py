"""Drop rows that hold a benchmark's questions or gold answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field, field_validator

from curate.arrays import Column, flat, large, lengths, owners, text_of
from curate.division import Division, Piece, Space
from curate.encoders import Precision, load_encoder
from curate.errors import StageError
from curate.methods.benchmarks import Benchmark, Items, Texts, load, resolve
from curate.methods.overlap import Floats, Ints, Matches, OverlapIndex
from curate.methods.vectors import nearest, unit, vectors_of
from curate.schema import DROP
from curate.stage import Context, Result, Stage

OVERLAPS = "overlaps {} (item {}, {:.0%} of its words)"
ANSWERS = "answer overlaps {} (item {}, {:.0%})"


class Decontaminate(Stage, name="decontaminate"):
    """Drop each row whose prompt holds a benchmark question, or whose answer a gold answer.

    A question of at least `n` words is held where more than the share `coverage` of its words
    lie in n-grams of the row (Tulu 3: n 8, half; `n: 13, coverage: 0` is GPT-3's any-13-gram
    rule); a shorter one where the row holds it whole; one below `contain_from` words where it is
    the whole prompt. Words are lower-case letters and digits (NFKC). Gold answers below n words
    are not looked for. With `embedding`, a row whose vector is near a question's is dropped too.

    `counts` reports, for each benchmark, its items, the items found and the rows that hold them.
    What a result depends on is the benchmarks' content, not where it was read.
    """

    version = 2
    scope = "dataset"
    benchmarks: tuple[str | Benchmark, ...] = Field(min_length=1)
    """Names of known benchmarks (gsm8k, reward_bench, ...), the groups `tasks` and `reward`, or
    files: {name: mine, path: evals/mine.jsonl, column: question, answers: answer}."""
    where: Literal["prompt", "response", "both"] = "prompt"
    """What to look at: prompts for questions, candidates for gold answers, or both."""
    n: int = Field(8, ge=1, le=64)
    """Words of an n-gram."""
    coverage: float = Field(0.5, ge=0.0, lt=1.0)
    """A question is held where more than this share of its words is covered."""
    contain_from: int = Field(4, ge=1)
    """Fewer words than this must be the whole prompt."""
    embedding: str | None = None
    """A column of prompt embeddings; `encoder` must be the model that wrote it."""
    encoder: str = "packaged:minilm"
    """The model for `embedding`: the one that wrote the column."""
    precision: Precision = "bf16"
    """That of the encoder."""
    cosine: float = Field(0.85, gt=0.0, le=1.0)
    """The cosine from which an embedded prompt resembles a question."""

    @field_validator("benchmarks")
    @classmethod
    def _known(cls, benchmarks: tuple[str | Benchmark, ...]) -> tuple[str | Benchmark, ...]:
        resolve(benchmarks)
        return benchmarks

    def identity(self) -> dict[str, Any]:
        """Return the fields, with each benchmark as its name and its content's digest."""
        content = [[b.name, load(b).digest] for b in resolve(self.benchmarks)]
        return super().identity() | {"benchmarks": content}

    def needed(self) -> tuple[str, ...]:
        """Return the columns that are looked at."""
        prompt = ("prompt",) if self.where != "response" else ()
        response = ("candidates",) if self.where != "prompt" else ()
        return (*prompt, *response, *((self.embedding,) if self.embedding else ()))

    def division(self) -> Division | None:
        """Each span looks for the items by itself; vectors are compared with all rows' at once."""
        return None if self.embedding else BenchmarkCounts(self)

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return, for each row that holds an item, the benchmark, the item and how alike."""
        names = [b.name for b in resolve(self.benchmarks)]
        items = [load(b) for b in resolve(self.benchmarks)]
        findings = self.findings(view, items)
        ctx.counts.update(report(names, items, [found for _, found in findings]))
        return {DROP: reasons_of(len(view), names, findings)}

    def findings(self, view: pa.Table, items: Sequence[Items]) -> list[tuple[str, Found]]:
        """Return a text to fill with benchmark, item and score, and the matches of its kind."""
        questions = gather([one.questions for one in items])
        findings: list[tuple[str, Found]] = []
        if self.where != "response":
            prompts = [large(text_of(chunk)) for chunk in view["prompt"].chunks]
            hits = self._overlap(questions.texts, pa.chunked_array(prompts, pa.large_string()))
            findings.append((OVERLAPS, questions.found(hits)))
        if self.where != "prompt":
            answers = gather([one.answers for one in items])
            hits = self._answers(answers.texts, view["candidates"])
            findings.append((ANSWERS, answers.found(hits)))
        if self.embedding:
            hits = self._resemblance(questions.texts, view[self.embedding])
            findings.append(("resembles {} (item {}, cosine {:.2f})", questions.found(hits)))
        return findings

    def _overlap(self, items: pa.Array, rows: Column) -> Matches:
        return OverlapIndex(items, self.n, self.coverage, self.contain_from).matches(rows)

    def _answers(self, items: pa.Array, candidates: Column) -> Matches:
        """Return matches of each row's candidates; each candidate is looked at by itself."""
        index = OverlapIndex(items, self.n, self.coverage)
        usable = flat(candidates, "drop").is_null()
        row_of = owners(lengths(candidates))[np.asarray(usable, dtype=bool)]
        hits = index.matches(flat(candidates, "text").filter(usable))
        long = index.sizes[hits.item] >= self.n
        return Matches(row_of[hits.row[long]], hits.item[long], hits.score[long])

    def _resemblance(self, items: pa.Array, column: Column) -> Matches:
        rows = unit(vectors_of(column))
        texts = [text if text.strip() else " " for text in items.to_pylist()]
        questions = load_encoder(self.encoder, self.precision).encode(texts)
        if len(questions) and questions.shape[1] != rows.shape[1]:
            raise StageError(
                f"column {self.embedding!r} holds vectors of {rows.shape[1]} numbers, and "
                f"{self.encoder!r} gives {questions.shape[1]}; name the encoder that wrote them"
            )
        row, item, score = nearest(rows, questions, self.cosine)
        return Matches(row, item, score)


class BenchmarkCounts(Division):
    """`Decontaminate.apply` in pieces: only the counts are about all rows."""

    def __init__(self, stage: Decontaminate) -> None:
        self.stage = stage
        self.names = [b.name for b in resolve(stage.benchmarks)]
        self.items = [load(b) for b in resolve(stage.benchmarks)]

    def steps(self, space: Space) -> Iterator[Sequence[Piece]]:
        """Look for the items in every span."""
        yield space.reading("find")

    def work(self, piece: Piece, view: pa.Table | None, space: Space) -> None:
        """Keep what is found in the span, its rows numbered among all."""
        assert view is not None  # noqa: S101 - `find` is the one step, and it reads
        span, start = piece.number, space.first[piece.number]
        for text, found in self.stage.findings(view, self.items):
            name = "answers" if text == ANSWERS else "questions"
            moved = np.stack([found.row + start, found.benchmark, found.item])
            space.save(name, span, moved)
            space.save(f"{name} score", span, found.score)

    def result(self, span: int, view: pa.Table, space: Space, counts: Counter[str]) -> Result:
        """Return the reasons for the span's rows; with span 0 the counts over all rows."""
        where = self.stage.where
        texts = {"questions": OVERLAPS} if where != "response" else {}
        texts |= {"answers": ANSWERS} if where != "prompt" else {}
        if not span:
            kinds = [space.all_of(name, space.spans) for name in texts]
            whole = [Found(a, b, c, np.zeros(len(a))) for a, b, c in kinds]
            counts.update(report(self.names, self.items, whole))
        findings = []
        for name, text in texts.items():
            row, benchmark, item = space.load(name, span)
            score = space.load(f"{name} score", span)
            findings.append((text, Found(row - space.first[span], benchmark, item, score)))
        return {DROP: reasons_of(len(view), self.names, findings)}


class Found(NamedTuple):
    """Row `row` holds item `item` (from 1) of benchmark `benchmark` (an index), by `score`."""

    row: Ints
    benchmark: Ints
    item: Ints
    score: Floats


class Gathered(NamedTuple):
    """Every benchmark's texts one after another, and the benchmark and item of each."""

    texts: pa.Array
    benchmark: Ints
    item: Ints

    def found(self, hits: Matches) -> Found:
        """Return the matches with their texts' benchmarks and items."""
        return Found(hits.row, self.benchmark[hits.item], self.item[hits.item], hits.score)


def gather(benchmarks: Sequence[Texts]) -> Gathered:
    """Put the benchmarks' texts into one array."""
    texts = [one.texts for one in benchmarks]
    counts = [len(one.texts) for one in benchmarks]
    items = np.array([number for one in benchmarks for number in one.item], dtype=np.int64)
    return Gathered(pa.concat_arrays(texts), owners(counts), items)


def report(names: Sequence[str], items: Sequence[Items], findings: Sequence[Found]) -> Counter[str]:
    """Count each benchmark's items, the items found in some row, and the rows that hold one."""
    benchmark, item, row = (
        np.concatenate([getattr(found, field) for found in findings])
        for field in ("benchmark", "item", "row")
    )
    counts: Counter[str] = Counter()
    for number, name in enumerate(names):
        here = benchmark == number
        counts[f"{name}: items"] = items[number].size
        counts[f"{name}: items found"] = len(np.unique(item[here]))
        counts[f"{name}: rows"] = len(np.unique(row[here]))
    return counts


def reasons_of(n: int, names: Sequence[str], findings: Sequence[tuple[str, Found]]) -> pa.Array:
    """Return each row's reason (n; null for none): the best match of the first kind it has.

    `findings` pairs a text to fill with benchmark, item and score with the matches of its kind.
    """
    why: npt.NDArray[Any] = np.full(n, None, dtype=object)
    for text, found in findings:
        order = np.lexsort((found.item, found.benchmark, -found.score, found.row))
        row = found.row[order]
        heads = order[np.flatnonzero(np.diff(row, prepend=-1))]
        for at in heads.tolist():
            place = int(found.row[at])
            if why[place] is None:
                name = names[int(found.benchmark[at])]
                why[place] = text.format(name, int(found.item[at]), float(found.score[at]))
    return pa.array(why.tolist(), pa.string())
