"""Drop rows that hold a benchmark's questions or gold answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field, model_validator

from curate.arrays import Column, Floats, Ints, flat, large, lengths, owners, text_of
from curate.division import Division, Piece, Space
from curate.encoders import Precision, load_encoder
from curate.errors import ConfigError, CurateError, InputError, StageError
from curate.methods.benchmark_list import Benchmark, resolve
from curate.methods.benchmarks import Items, Texts, load
from curate.methods.overlap import Matches, OverlapIndex, words_of
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
    the whole prompt. Words are lower-case letters and digits (NFKC); between the numbers of items
    below n words the operators must agree too. Gold answers below n words are not looked for. Of a
    conversation in a benchmark the user's turns are questions, and the assistant's gold answers.
    With `embedding`, a row whose vector is near a question's is dropped too.

    `counts` reports for every benchmark, also where nothing is found, "NAME: items", "NAME: items
    looked for" (those that have a question, or a gold answer that is long enough), "NAME: items
    found" and "NAME: rows" (that hold one). What a result depends on is the benchmarks' content,
    not where it was read. The known ones: docs/benchmarks.md.
    """

    version = 3
    scope = "dataset"
    benchmarks: tuple[str | Benchmark, ...] = Field(min_length=1)
    """Names of known benchmarks (gsm8k, reward_bench, ...), the groups `tasks` and `reward`, or
    files: {name: mine, path: evals/mine.jsonl, column: question, answers: answer}."""
    without: tuple[str, ...] = ()
    """Known names to leave out of a group: gpqa_diamond is gated, or you have your own file."""
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

    @model_validator(mode="after")
    def _known(self) -> Decontaminate:
        try:
            named = self.resolved()
        except ConfigError as error:
            raise ValueError(str(error)) from None
        if self.where == "response":
            own = [b for b in self.benchmarks if isinstance(b, Benchmark)]
            none = [b.name for b in own if b.answers is None]
            if none or not any(b.answers for b in named):
                raise ValueError(
                    "`where: response` looks for gold answers; name their column in `answers` of "
                    f"{', '.join(none or [b.name for b in named])}"
                )
        return self

    def resolved(self) -> list[Benchmark]:
        """Return the benchmarks that are looked for."""
        return resolve(self.benchmarks, self.without)

    def ready(self) -> None:
        """Read every benchmark, and hold that it has something to look for.

        Raises ConfigError or InputError, of several one that names them all.
        """
        problems: list[CurateError] = []
        for benchmark in self.resolved():
            try:
                items = load(benchmark)
            except (ConfigError, InputError) as error:
                problems.append(error)
                continue
            sought = benchmark.answers is not None or self.where != "response"
            if sought and not len(self.looked_for(items)):
                problems.append(
                    ConfigError(
                        f"benchmark {benchmark.name!r} has nothing to look for with `where: "
                        f"{self.where}`: gold answers need {self.n} words, questions one"
                    )
                )
        if problems:
            raise ConfigError("; ".join(map(str, problems))) from problems[0]

    def identity(self) -> dict[str, Any]:
        """Return the fields, with each benchmark as its name and its content's digest."""
        content = [[b.name, load(b).digest] for b in self.resolved()]
        fields = super().identity() | {"benchmarks": content}
        fields.pop("without", None)
        return fields

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
        names = [b.name for b in self.resolved()]
        items = [load(b) for b in self.resolved()]
        findings = self.findings(view, items, ctx)
        ctx.counts.update(self.report(names, items, [found for _, found in findings]))
        return {DROP: reasons_of(len(view), names, findings)}

    def looked_for(self, items: Items) -> Ints:
        """Return the numbers of the items that have something that is looked for."""
        kinds = [(items.questions, 1)] if self.where != "response" or self.embedding else []
        kinds += [(items.answers, self.n)] if self.where != "prompt" else []
        found = [
            np.array(texts.item, dtype=np.int64)[words_of(texts.texts).counts >= least]
            for texts, least in kinds
        ]
        return np.unique(np.concatenate(found))

    def report(
        self, names: Sequence[str], items: Sequence[Items], findings: Sequence[Found]
    ) -> Counter[str]:
        """Count each benchmark's items, those looked for and found, and the rows that hold one."""
        benchmark, item, row = (
            np.concatenate([getattr(found, field) for found in findings])
            for field in ("benchmark", "item", "row")
        )
        counts: Counter[str] = Counter()
        for number, name in enumerate(names):
            here = benchmark == number
            counts[f"{name}: items"] = items[number].size
            counts[f"{name}: items looked for"] = len(self.looked_for(items[number]))
            counts[f"{name}: items found"] = len(np.unique(item[here]))
            counts[f"{name}: rows"] = len(np.unique(row[here]))
        return counts

    def findings(
        self, view: pa.Table, items: Sequence[Items], ctx: Context
    ) -> list[tuple[str, Found]]:
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
            hits = self._resemblance(questions.texts, view[self.embedding], ctx)
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

    def _resemblance(self, items: pa.Array, column: Column, ctx: Context) -> Matches:
        rows = unit(vectors_of(column))
        texts = [text if text.strip() else " " for text in items.to_pylist()]
        questions = ctx.encode(load_encoder(self.encoder, self.precision), texts)
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
        self.names = [b.name for b in stage.resolved()]
        self.items = [load(b) for b in stage.resolved()]

    def steps(self, space: Space) -> Iterator[Sequence[Piece]]:
        """Look for the items in every span."""
        yield space.reading("find")

    def work(self, piece: Piece, view: pa.Table | None, space: Space) -> None:
        """Keep what is found in the span, its rows numbered among all."""
        assert view is not None  # noqa: S101 - `find` is the one step, and it reads
        span, start = piece.number, space.first[piece.number]
        for text, found in self.stage.findings(view, self.items, Context()):
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
            counts.update(self.stage.report(self.names, self.items, whole))
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
