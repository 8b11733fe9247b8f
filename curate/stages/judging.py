"""What the stages that ask a model to judge, to tag or to list have in common."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from curate.engines.contract import Capability
from curate.stage import EngineRole, Stage
from curate.stages.calls import Greedy, GreedySampling


class Asking(Stage):
    """A stage that reads a model's answers, greedy ones where nothing else is said."""

    engine: Annotated[str, EngineRole(("chat",))]
    """The engine's name."""
    structured: bool = False
    """Hold the engine to an answer in JSON (needs an engine that can)."""
    sampling: Greedy = GreedySampling()
    """How to draw; greedy where no temperature is given."""
    max_error_rate: float = Field(default=0.1, ge=0.0, le=1.0)
    """Share of failed calls above which the shard is given up."""

    seeded = True

    def engine_roles(self) -> Iterator[tuple[str, tuple[Capability, ...]]]:
        """The engine, with what reading probabilities and `structured` need."""
        more: tuple[Capability, ...] = ("token_probs",) if self.reads_probabilities() else ()
        yield self.engine, ("chat", *more, *(("structured",) if self.structured else ()))

    def reads_probabilities(self) -> bool:
        """Whether an answer is read from the probabilities of the next token."""
        return False


class Judging(Asking):
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
