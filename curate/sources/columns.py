"""Which of the input's columns means what."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator


class Columns(BaseModel):
    """Names of the input's columns; what is not named here is kept as JSON in `meta`.

    A row holds its candidates in one of four ways: none; `candidates` (a list, wide);
    `response` (one a row; with `group`, the rows that agree in those columns are one prompt);
    or `chosen` and `rejected`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: str | None = "prompt"  # text or messages; None: what chosen and rejected share
    input: str | None = None  # text put after the prompt's, a blank line between
    id: str | None = None  # text or integer; None: a hash of the row's content
    system: str | None = None  # text that becomes a first system message
    reference: str | None = None
    candidates: str | None = None  # a list of texts or of {text or response, model, ...}
    response: str | None = None
    model: str | None = None  # who wrote `response`
    group: tuple[str, ...] = ()
    varies: tuple[str, ...] = ()  # may differ in a group: the first row's counts, all go to meta
    scores: tuple[str, ...] = ()  # each becomes a judge of that name
    # A list aligned with `candidates`, 1 = best, or a list of such lists: one ranking a person; or
    # a field of each candidate.
    ranks: str | None = None
    chosen: str | None = None
    rejected: str | None = None
    margin: str | None = None  # number: how much better chosen is than rejected
    # A list of such numbers, one a person who compared the two: each becomes a judge, "margins#0".
    margins: str | None = None
    label_source: str = Field(default="label", min_length=1)  # `source` of the pairs

    @field_validator("group", "varies", "scores", mode="before")
    @classmethod
    def _one_name_or_several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _consistent(self) -> Columns:
        ways = [name for name in ("candidates", "response", "chosen") if getattr(self, name)]
        if len(ways) > 1:
            raise ValueError(f"{' and '.join(ways)} exclude each other; map one of them")
        if (self.chosen is None) != (self.rejected is None):
            raise ValueError("chosen and rejected go together; map both or neither")
        if self.prompt is None and (not self.chosen or self.input or self.group):
            raise ValueError("prompt may be left out only where chosen and rejected hold it")
        for name, needed in (
            ("group", "response"),
            ("varies", "group"),
            ("model", "response"),
            ("ranks", "candidates"),
            ("margin", "chosen"),
            ("margins", "chosen"),
        ):
            if getattr(self, name) and not getattr(self, needed):
                raise ValueError(f"{name} needs {needed} to be mapped too")
        if self.scores and not (self.candidates or self.response):
            raise ValueError("scores need candidates or response to be mapped too")
        return self

    def meanings(self) -> tuple[str, ...]:
        """Return the input columns with a meaning of their own, `scores` left out."""
        single = (
            self.prompt,
            self.input,
            self.id,
            self.system,
            self.reference,
            self.candidates,
            self.response,
            self.model,
            self.ranks,
            self.chosen,
            self.rejected,
            self.margin,
            self.margins,
        )
        return tuple(name for name in single if name is not None)

    def mapped(self) -> tuple[str, ...]:
        """Return the input columns that must exist; a score may be a candidate's field instead."""
        return (*self.meanings(), *self.group)

    def provides(self) -> tuple[str, ...]:
        """Return the canonical columns that these columns give."""
        optional = {
            "reference": self.reference,
            "candidates": self.candidates or self.response or self.chosen,
            "judgments": self.scores or self.ranks or self.margins,
            "pairs": self.chosen,
        }
        return ("id", "prompt", "meta", *(name for name, given in optional.items() if given))

    def prompts_only(self) -> bool:
        """Whether nothing but a prompt and perhaps an id is mapped."""
        return self.prompt is not None and set(self.mapped()) <= {self.prompt, self.id}
