"""What the stages that ask a model have in common: whom they ask, how it is drawn, what fails."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import numpy as np
from pydantic import Field, model_validator

from curate.arrays import Ints
from curate.engines.contract import Capability, Completions, Requests, Schema
from curate.stage import Context, EngineRole, Stage
from curate.stages.calls import ErrorRate, Greedy, GreedySampling, chat
from curate.stages.forms import Form, shortened


class Asking(Stage):
    """A stage that asks one engine; a subclass with sampling says how it draws."""

    engine: Annotated[str, EngineRole(("chat",))]
    """The engine's name."""
    max_error_rate: ErrorRate = 0.1

    seeded = True

    def engine_roles(self) -> Iterator[tuple[str, tuple[Capability, ...]]]:
        """The engine, with what the field says and what `capabilities` adds."""
        for role, known in super().engine_roles():
            yield role, (*known, *self.capabilities())

    def capabilities(self) -> tuple[Capability, ...]:
        """What the engine must be able to do beside what the field says, as other fields ask."""
        return ("token_probs",) if self.reads_probabilities() else ()

    def reads_probabilities(self) -> bool:
        """Whether an answer is read from the probabilities of the next token."""
        return False

    def ask(self, requests: Requests, ctx: Context) -> Completions:
        """Return the engine's answers, counted; see `chat`."""
        what = f"{self.kind} with {self.engine}"
        return chat(ctx.engine(self.engine), requests, ctx, self.max_error_rate, what)


class AskingInForm(Asking):
    """A stage that reads something out of a model's answers, and can hold the model to the form."""

    structured: bool = False
    """Hold the engine to an answer in JSON (needs an engine that can)."""
    longest_text: int | None = Field(default=None, ge=1)
    """"structured": the most characters of each text in the answer, so that what follows, such as
    the verdict after its reasons, is not cut off at `sampling.max_tokens`. The schema says it by
    maxLength, which vLLM, SGLang and llama.cpp keep to and some hosted servers refuse."""

    @model_validator(mode="after")
    def _held_to_a_length(self) -> AskingInForm:
        if self.longest_text is not None and not self.structured:
            raise ValueError("longest_text is for answers in JSON; set structured: true")
        return self

    def capabilities(self) -> tuple[Capability, ...]:
        """What reading probabilities and `structured` need."""
        return (*super().capabilities(), *(("structured",) if self.structured else ()))

    def held(self, schema: Schema | None) -> Schema | None:
        """Return what to hold an answer to: the schema, with texts of at most `longest_text`."""
        if not self.structured or schema is None or self.longest_text is None:
            return schema if self.structured else None
        return shortened(schema, self.longest_text)


class Judging(AskingInForm):
    """A stage that appends an LLM's judgments of a row's candidates; see `Judge` and its kin."""

    sampling: Greedy = GreedySampling()
    """How to draw; greedy where no temperature is given."""
    use_reference: bool = True
    """Show the judge the row's reference answer where there is one."""
    name: str | None = None
    """The judge's name in the judgments; by default made of the engine's and the rubric's."""

    needs = ("id", "prompt", "candidates")
    appends = ("judgments",)

    def used(self) -> tuple[str, ...]:
        """The reference, unless `use_reference` is off."""
        return ("reference",) if self.use_reference else ()

    def schemas(self, form: Form, sizes: Ints) -> Schema | list[Schema] | None:
        """Return the schema of all calls, or of each where its list has the length in `sizes`."""
        if form.schema is None or not form.listed:
            return self.held(form.schema)
        each = {size: self.held(form.of(size)) or {} for size in np.unique(sizes).tolist()}
        return [each[size] for size in sizes.tolist()]
