"""Drop rows that hold a benchmark's questions or gold answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from curate.arrays import Column, Ints, flat, large, lengths, owners, text_of
from curate.division import Division
from curate.encoders import Precision, Vectors, load_encoder
from curate.errors import ConfigError, CurateError, InputError, StageError
from curate.methods.benchmark_list import Benchmark, resolve
from curate.methods.benchmarks import Items, load
from curate.methods.overlap import Matches, OverlapIndex, words_of
from curate.methods.vectors import nearest, unit_rows
from curate.schema import DROP
from curate.stage import Context, Result, Stage
from curate.stages.benchmark_finds import BenchmarkCounts, Found, gather, reasons_of


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

        Raises one error that names all that is wrong: a StageError where all of it may pass.
        """
        problems: list[CurateError] = []
        for benchmark in self.resolved():
            try:
                items = load(benchmark)
            except (ConfigError, InputError, StageError) as error:
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
            passes = all(isinstance(problem, StageError) for problem in problems)
            said = "; ".join(map(str, problems))
            raise (StageError if passes else ConfigError)(said) from problems[0]

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

    def division(self) -> Division:
        """Each span looks for the items by itself."""
        return BenchmarkCounts(self)

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return, for each row that holds an item, the benchmark, the item and how alike."""
        names = [b.name for b in self.resolved()]
        items = [load(b) for b in self.resolved()]
        encoded = self.encoded(items, ctx) if self.embedding else None
        findings = self.findings(view, items, encoded)
        ctx.counts.update(self.report(names, items, list(findings.values())))
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

    def encoded(self, items: Sequence[Items], ctx: Context) -> Vectors:
        """Return the vectors of all questions (m, d), as `gather` puts them."""
        texts = gather([one.questions for one in items]).texts.to_pylist()
        texts = [text if text.strip() else " " for text in texts]
        return ctx.encode(load_encoder(self.encoder, self.precision), texts)

    def findings(
        self, view: pa.Table, items: Sequence[Items], encoded: Vectors | None
    ) -> dict[str, Found]:
        """Return the matches of each kind that is looked for; the kinds are those of `WORDS`.

        `encoded` are the questions' vectors, where vectors are compared.
        """
        questions = gather([one.questions for one in items])
        findings: dict[str, Found] = {}
        if self.where != "response":
            prompts = [large(text_of(chunk)) for chunk in view["prompt"].chunks]
            hits = self._overlap(questions.texts, pa.chunked_array(prompts, pa.large_string()))
            findings["questions"] = questions.found(hits)
        if self.where != "prompt":
            answers = gather([one.answers for one in items])
            hits = self._answers(answers.texts, view["candidates"])
            findings["answers"] = answers.found(hits)
        if self.embedding and encoded is not None:
            hits = self._resemblance(encoded, view[self.embedding])
            findings["vectors"] = questions.found(hits)
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

    def _resemblance(self, questions: Vectors, column: Column) -> Matches:
        rows = unit_rows(column, np.arange(len(column)))
        if len(questions) and len(rows) and questions.shape[1] != rows.shape[1]:
            raise StageError(
                f"column {self.embedding!r} holds vectors of {rows.shape[1]} numbers, and "
                f"{self.encoder!r} gives {questions.shape[1]}; name the encoder that wrote them"
            )
        return Matches(*nearest(rows, questions, self.cosine))
