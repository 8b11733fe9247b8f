"""What the stages that ask a model have in common: whom they ask, how it is drawn, what fails."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from curate.engines.contract import Capability, Completions, Requests
from curate.stage import Context, EngineRole, Stage
from curate.stages.calls import ErrorRate, Greedy, GreedySampling, chat


class Asking(Stage):
    """A stage that asks one engine; a subclass with sampling says how it draws."""

    engine: Annotated[str, EngineRole(("chat",))]
    """The engine's name."""
    max_error_rate: ErrorRate = 0.1
    """Share of failed calls above which the shard is given up."""

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
    """A stage that reads a model's answers, greedy ones where nothing else is said."""

    structured: bool = False
    """Hold the engine to an answer in JSON (needs an engine that can)."""
    sampling: Greedy = GreedySampling()
    """How to draw; greedy where no temperature is given."""

    def capabilities(self) -> tuple[Capability, ...]:
        """What reading probabilities and `structured` need."""
        return (*super().capabilities(), *(("structured",) if self.structured else ()))


class Judging(AskingInForm):
    """A stage that appends an LLM's judgments of a row's candidates; see `Judge` and its kin."""

    use_reference: bool = True
    """Show the judge the row's reference answer where there is one."""
    name: str | None = None
    """The judge's name in the judgments; by default made of the engine's and the rubric's."""

    needs = ("id", "prompt", "candidates")
    appends = ("judgments",)

    def used(self) -> tuple[str, ...]:
        """The reference, unless `use_reference` is off."""
        return ("reference",) if self.use_reference else ()
