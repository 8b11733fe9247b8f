"""Which of the input's columns means what."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

GIVEN_BY = {
    "reference": ("reference",),
    "candidates": ("candidates", "response", "chosen"),
    "judgments": ("scores", "ranks", "margins", "chosen_score", "label"),
    "scores": ("chosen_score",),
    "pairs": ("chosen",),
}
"""Canonical columns that a source has where one of these fields is mapped."""


class Columns(BaseModel):
    """Names of the input's columns; what is not named here is kept as JSON in `meta`.

    A row holds its candidates in one of four ways: none; `candidates` (a list, wide);
    `response` (one a row); or `chosen` and `rejected`. With `group`, the rows that agree in those
    columns are one prompt with a candidate, or a pair, each.

    Messages are the system's, the user's and the assistant's. Content that is a list of parts, as
    chat APIs have it, is its texts with a newline between. A row in which tools are called, or
    answer, or part of a message is no text, such as an image, is dropped for that reason.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: str | None = "prompt"
    """Text, or messages of {role, content} or, as ShareGPT has them, {from, value}; null: what
    `chosen` and `rejected`, or `response`, begin with."""
    input: str | None = None
    """Text that is put after the prompt's, a blank line between."""
    id: str | None = None
    """Text or whole numbers, no two alike; null: a hash of the row's content."""
    system: str | None = None
    """Text that becomes a first message of the system."""
    reference: str | None = None
    """The right answer, as text."""
    candidates: str | None = None
    """A list of texts, or of {text or response, model, ...}."""
    response: str | None = None
    """One candidate a row: text, or messages that end with it."""
    model: str | None = None
    """Who wrote `response`."""
    group: tuple[str, ...] = ()
    """Rows that agree in these columns are one prompt, with a candidate or a pair each. Rows of a
    group may lie far apart, so all rows of all files are held in memory. An answer that several of
    a group's pairs hold is one candidate."""
    varies: tuple[str, ...] = ()
    """Columns that may differ within a group: the first row's value counts, all go to `meta`."""
    scores: tuple[str, ...] = ()
    """Numbers, higher is better; each becomes a judge of that name. Beside `candidates` a list as
    long as theirs, or a field of each, also one within another: UltraFeedback's
    `annotations.helpfulness.Rating`. A number as text is one; null, NaN, "" and "N/A" are none."""
    ranks: str | None = None
    """A list as long as `candidates`, 1 = best, or a list of such lists, one ranking a person; or a
    field of each candidate."""
    chosen: str | None = None
    """The better answer: text, a message, or messages that end with it."""
    rejected: str | None = None
    """The worse answer, as `chosen`."""
    transcripts: tuple[str, ...] = ()
    """Columns among those of prompt, response, chosen and rejected whose text is a conversation as
    HH-RLHF has it: turns that begin with "Human:" or "Assistant:" behind an empty line. A prompt
    may end with an "Assistant:" that says nothing yet. HH-RLHF itself is `{prompt: null, chosen:
    chosen, rejected: rejected, transcripts: [chosen, rejected]}`."""
    label: tuple[str, ...] = ()
    """Who is better, where `chosen` and `rejected` are no more than the first and the second
    answer: "a", "b" or "tie" (or model_a, model_b), in one column a person; for numbers say in
    `verdicts` what they mean. Each is a judge of its name, and what most of them say tells which
    answer is chosen; the pair of a tie, of an open vote and of labels that cannot be read is
    dropped."""
    verdicts: dict[str, Literal["a", "b", "tie"]] = Field(default_factory=dict)
    """What the values of `label` mean, where they are other ones: `{1: a, 2: b, 0: tie}` for
    PandaLM's, `{1: a, 0: b}` for SHP's, or each strength from -3 to 3 on its own. A value that is
    not named cannot be read."""
    chosen_score: str | None = None
    """A number, higher is better, or a list of them: the chosen answer's. With `rejected_score` it
    becomes the judge "score", and `scores` are there without `combine`."""
    rejected_score: str | None = None
    """The rejected answer's, as `chosen_score`."""
    chosen_model: str | None = None
    """Who wrote the chosen answer."""
    rejected_model: str | None = None
    """Who wrote the rejected answer."""
    margin: str | None = None
    """A number: how much better chosen is than rejected."""
    margins: str | None = None
    """A list of such numbers, one a person who compared the two: each becomes a judge, such as
    "margins#0"."""
    label_source: str = Field(default="label", min_length=1)
    """What the pairs have as their `source`."""

    @field_validator("group", "varies", "scores", "label", "transcripts", mode="before")
    @classmethod
    def _one_name_or_several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("verdicts", mode="before")
    @classmethod
    def _named_as_text(cls, value: Any) -> Any:
        return {str(k): v for k, v in value.items()} if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _consistent(self) -> Columns:
        ways = [name for name in ("candidates", "response", "chosen") if getattr(self, name)]
        if len(ways) > 1:
            raise ValueError(f"{' and '.join(ways)} exclude each other; map one of them")
        if self.prompt is None and (self.input or not (self.chosen or self.response)):
            raise ValueError("prompt may be left out only where chosen or response holds it")
        if self.group and not (self.response or self.chosen):
            raise ValueError("group needs response or chosen to be mapped too")
        for name, needed in (
            ("varies", "group"),
            ("model", "response"),
            ("chosen_score", "chosen"),
            ("chosen_model", "chosen"),
            ("rejected_model", "chosen"),
            ("ranks", "candidates"),
            ("margin", "chosen"),
            ("margins", "chosen"),
            ("label", "chosen"),
            ("verdicts", "label"),
        ):
            if getattr(self, name) and not getattr(self, needed):
                raise ValueError(f"{name} needs {needed} to be mapped too")
        if self.scores and not (self.candidates or self.response):
            instead = "; of chosen and rejected map chosen_score and rejected_score"
            raise ValueError(
                "scores need candidates or response to be mapped too" + instead * bool(self.chosen)
            )
        for name in self.transcripts:
            if name not in (self.prompt, self.response, self.chosen, self.rejected):
                raise ValueError(
                    f"transcripts: {name!r} is none of the columns that prompt, response, chosen "
                    "and rejected are mapped to"
                )
        return self

    @model_validator(mode="after")
    def _pairs_consistent(self) -> Columns:
        for one, other in (("chosen", "rejected"), ("chosen_score", "rejected_score")):
            if (getattr(self, one) is None) != (getattr(self, other) is None):
                raise ValueError(f"{one} and {other} go together; map both or neither")
        if self.prompt is None and self.group and self.chosen:
            raise ValueError("with group, pairs need a prompt to be mapped")
        if self.label and self.margin:
            raise ValueError("margin and label exclude each other; map one of them")
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
            self.chosen_score,
            self.rejected_score,
            self.chosen_model,
            self.rejected_model,
            self.margin,
            self.margins,
        )
        return (*(name for name in single if name is not None), *self.label)

    def mapped(self) -> tuple[str, ...]:
        """Return the input columns that must exist; a score may be a candidate's field instead."""
        return (*self.meanings(), *self.group)

    def provides(self) -> tuple[str, ...]:
        """Return the canonical columns that these columns give."""
        mapped = (name for name, by in GIVEN_BY.items() if any(getattr(self, n) for n in by))
        return ("id", "prompt", "meta", *mapped)

    def prompts_only(self) -> bool:
        """Whether nothing but a prompt and perhaps an id is mapped."""
        return self.prompt is not None and set(self.mapped()) <= {self.prompt, self.id}
