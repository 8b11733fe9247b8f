"""Tags of prompts: what a model says that they are about or ask for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, model_validator

from curate.arrays import map_distinct, mix
from curate.engines.contract import Requests
from curate.methods.tags import LONGEST, folded, read_tags
from curate.prompts import load_template
from curate.stage import Context, Result
from curate.stages.calls import Greedy, GreedySampling, count_replies
from curate.stages.forms import object_schema
from curate.stages.judging import AskingInForm
from curate.stages.new_column import NewColumn
from curate.stages.questions import load_rubric
from curate.stages.shown import fenced, transcripts

_TAGS = pa.list_(pa.string())
_READ = pa.struct([("tags", _TAGS), ("status", pa.string())])


class Tag(AskingInForm, name="tag"):
    """Write to a column the list of tags that a model gives each prompt, in one call.

    Open tags, in the model's own words, say what prompts want and how much of it (InsTag, Lu et
    al. 2024); `merge_tags` makes those one that mean the same, `cover` chooses prompts by them.
    With `choices` the tags are those that are true of the prompt: criteria that it meets
    (BenchBuilder, Li et al. 2024), topics, languages. What cannot be read is null, and an empty
    list says that the model found none; `bound` drops prompts by the number of their tags.
    """

    rubric: str = "tags"
    """What a tag is, for open tags: a built-in text, or a path to a Markdown file."""
    choices: dict[str, str] | None = None
    """The only tags there are, in place of `rubric`, each with what is true of a prompt that has
    it."""
    most: int = Field(default=12, ge=1, le=100)
    """Most open tags of a prompt; what comes after them is left out."""
    to: NewColumn = "tags"
    """The column to write, of lists of texts."""
    sampling: Greedy = GreedySampling()
    """How to draw; greedy where no temperature is given."""

    needs = ("id", "prompt")

    @model_validator(mode="after")
    def _consistent(self) -> Tag:
        names = self.choices
        if names is not None and len({folded(name) for name in names} - {""}) < max(len(names), 1):
            raise ValueError("choices: give at least one tag, and none that reads like another")
        if names is not None and max(map(len, names)) > LONGEST:
            raise ValueError(f"choices: a tag has at most {LONGEST} characters")
        load_rubric(self.rubric)
        return self

    def identity(self) -> dict[str, Any]:
        """The fields and the texts that the model is shown."""
        texts = [load_template("tag_prompt").text, self._criterion(), self._ending()]
        return super().identity() | {"templates": texts}

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return the tags. Raises StageError above `max_error_rate`."""
        seeds = ctx.row_seeds(view["id"], self.kind)
        asked = load_template("tag_prompt").conversations(
            len(view),
            prompt=fenced(transcripts(view["prompt"]), "request", seeds),
            criterion=self._criterion(),
            ending=self._ending(),
        )
        own = mix(seeds, 1) >> np.uint64(1) if self.sampling.temperature > 0 else None
        schema = self.held(self._schema())
        requests = Requests(asked, self.sampling, seeds=own, json_schema=schema)
        answers = self.ask(requests, ctx)
        found = map_distinct(answers.text, self._read, _READ)
        whole = pc.equal(answers.status, "ok")
        tags = pc.if_else(whole, pc.struct_field(found, "tags"), pa.scalar(None, _TAGS))
        status = pc.if_else(whole, pc.struct_field(found, "status"), answers.status)
        count_replies(ctx, status)
        return {self.to: tags}

    def _read(self, text: str | None) -> tuple[list[str] | None, str]:
        names = self.choices and {folded(name): name for name in self.choices}
        return read_tags(text or "", self._most(), names)

    def _most(self) -> int:
        return self.most if self.choices is None else len(self.choices)

    def _criterion(self) -> str:
        if self.choices is None:
            return load_rubric(self.rubric).render()
        listed = "\n".join(f"- {name}: {said}" for name, said in self.choices.items())
        return load_template("tag_choices").render(choices=listed)

    def _ending(self) -> str:
        return load_template("end_tags").render(most=str(self._most()))

    def _schema(self) -> dict[str, Any]:
        one: dict[str, Any] = {"type": "string"}
        if self.choices is not None:
            one["enum"] = list(self.choices)
        listed = {"type": "array", "items": one, "maxItems": self._most()}
        return object_schema({"tags": listed})
