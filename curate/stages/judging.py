"""What every stage that asks a judge about candidates has in common."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from curate.engines.contract import Capability
from curate.stage import EngineRole, Stage
from curate.stages.calls import Greedy, GreedySampling


class Judging(Stage):
    """A stage that appends an LLM's judgments of a row's candidates; see `Judge` and its kin."""

    engine: Annotated[str, EngineRole(("chat",))]
    """The engine's name."""
    structured: bool = False
    """Hold the engine to an answer in JSON (needs an engine that can)."""
    sampling: Greedy = GreedySampling()
    """How to draw; greedy where no temperature is given."""
    use_reference: bool = True
    """Show the judge the row's reference answer where there is one."""
    name: str | None = None
    """The judge's name in the judgments; by default made of the engine's and the rubric's."""
    max_error_rate: float = Field(default=0.1, ge=0.0, le=1.0)
    """Share of failed calls above which the shard is given up."""

    needs = ("id", "prompt", "candidates")
    appends = ("judgments",)
    seeded = True

    def used(self) -> tuple[str, ...]:
        """The reference, unless `use_reference` is off."""
        return ("reference",) if self.use_reference else ()

    def engine_roles(self) -> Iterator[tuple[str, tuple[Capability, ...]]]:
        """The judge, with what reading probabilities and `structured` need."""
        more: tuple[Capability, ...] = ("token_probs",) if self.reads_probabilities() else ()
        yield self.engine, ("chat", *more, *(("structured",) if self.structured else ()))

    def reads_probabilities(self) -> bool:
        """Whether the judgment is read from the probabilities of the next token."""
        return False
