"""Texts that an engine writes about a row: a system message, a list of wishes, another prompt."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, field_validator, model_validator

from curate.engines.contract import Requests
from curate.methods.answers import json_object
from curate.methods.judgments import true
from curate.methods.labels import json_list, read_list
from curate.prompts import Shown, Template, load_template
from curate.schema import COLUMNS, DROP, FAIL
from curate.stage import Context, Result, WrittenMark
from curate.stages.calls import Greedy, GreedySampling, count_replies, lost_rows, unusable
from curate.stages.forms import object_schema
from curate.stages.judging import AskingInForm
from curate.stages.row_texts import row_texts, source_of
from curate.stages.shown import fenced

# No example: small models copy it.
_IN_JSON = {"text": ("text", "the text"), "list": ("texts", "the list of the texts, one an entry")}


class Write(AskingInForm, name="write"):
    """Write a text for each row to a column, by an engine that is shown what the template names.

    Every placeholder of the template is a column of that name: `{prompt}` is the whole
    conversation, `{last_turn}` its last turn, and `show` says which column another placeholder
    stands for. What is shown stands between tags that it cannot close. A row whose text is
    missing (it was cut off or refused, the list is empty, the prompt was too long) is dropped with
    the reason, or keeps a null; one whose call failed is a failed row. The built-in templates write
    a system message for a person (`write_system`), what to check an answer against
    (`write_criteria`), and what a user turned out to want (`write_wishes`).
    """

    template: str
    """A built-in template's name, or a path to a Markdown file."""
    to: Annotated[str, WrittenMark()] = Field(min_length=1)
    """The column to write."""
    form: Literal["text", "list"] = "text"
    """A text, or a list of texts, which the engine writes one a line."""
    most: int = Field(default=8, ge=1)
    """"list": the most entries kept."""
    show: dict[str, str] = {}
    """Columns for placeholders of other names; "meta.KEY" is a key of the source's own columns."""
    required: bool = True
    """Drop the rows without a text."""
    sampling: Greedy = GreedySampling()
    """How to draw; greedy where no temperature is given."""

    version = 2
    needs = ("id",)

    @field_validator("to")
    @classmethod
    def _free(cls, to: str) -> str:
        if (to in COLUMNS and to != "reference") or to in (DROP, FAIL):
            raise ValueError(f"{to!r} is a column of another meaning; choose another name")
        return to

    @model_validator(mode="after")
    def _consistent(self) -> Write:
        if self.to == "reference" and self.form == "list":
            raise ValueError("`reference` holds one text a row; choose another column")
        fields = self._template().fields
        for name in self.show:
            if name not in fields:
                raise ValueError(f"show: the template has no placeholder {{{name}}}")
        if not fields:
            raise ValueError("the template shows nothing of the row; name a column in braces")
        return self

    def needed(self) -> tuple[str, ...]:
        """The columns that the template shows."""
        return tuple(dict.fromkeys((*self.needs, *map(source_of, self._shown().values()))))

    def why_needed(self, column: str) -> str:
        """The template that shows it."""
        shown = [field for field, name in self._shown().items() if source_of(name) == column]
        return f"the template {self.template!r} shows {{{shown[0]}}}" if shown else ""

    def identity(self) -> dict[str, Any]:
        """The fields and the template's text."""
        return super().identity() | {"templates": [self._template().text]}

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return the column and who is dropped. Raises StageError above `max_error_rate`."""
        seeds = ctx.row_seeds(view["id"], f"{self.kind}\0{self.engine}\0{self.to}")
        shown: dict[str, Shown] = {
            field: fenced(pc.fill_null(row_texts(view, name), ""), field.replace("_", "-"), seeds)
            for field, name in self._shown().items()
        }
        asked = self._template().conversations(len(view), **shown)
        own = seeds if self.sampling.temperature > 0 else None
        schema = self.held(self._schema())
        answers = self.ask(Requests(asked, self.sampling, seeds=own, json_schema=schema), ctx)
        status = answers.status.to_pylist()
        found = [self._read(*one) for one in zip(answers.text.to_pylist(), status, strict=True)]
        nothing = "parse_error" if self.structured else "empty"
        count_replies(
            ctx,
            (
                "ok" if text is not None else nothing if called == "ok" else called
                for text, called in zip(found, status, strict=True)
            ),
        )
        kind = pa.list_(pa.string()) if self.form == "list" else pa.string()
        column = pa.array(found, kind)
        lost = true(column.is_null())
        ctx.counts[f"rows without {self.to}"] += int(lost.sum())
        if not self.required:
            return {self.to: column}
        said = pc.if_else(pc.equal(answers.status, "ok"), "empty", unusable(answers))
        why = pc.binary_join_element_wise(pa.scalar(f"no {self.to}"), said, ": ")
        return {self.to: column, **lost_rows(pc.if_else(pa.array(lost), why, None), answers)}

    def _read(self, text: str, status: str) -> str | list[str] | None:
        """Return what an answer gives; of a list that was cut off the lines that are whole."""
        if self.structured:
            if self.form == "list":
                return json_list(text, self.most) or None
            said = (json_object(text)[0] or {}).get("text")
            return said.strip() or None if isinstance(said, str) else None
        if self.form == "text":
            return text.strip() or None if status == "ok" else None
        if status == "truncated":
            text = text.rpartition("\n")[0]
        return read_list(text, self.most) or None if status in ("ok", "truncated") else None

    def _template(self) -> Template:
        plain = load_template(self.template)
        if not self.structured:
            return plain
        name, value = _IN_JSON[self.form]
        return plain.then(load_template("end_texts").render(name=name, value=value))

    def _schema(self) -> dict[str, Any]:
        text: dict[str, Any] = {"type": "string"}
        listed = {"type": "array", "items": text, "minItems": 1, "maxItems": self.most}
        name, _ = _IN_JSON[self.form]
        return object_schema({name: text if self.form == "text" else listed})

    def _shown(self) -> dict[str, str]:
        """Return the column that each placeholder stands for, sorted by placeholder."""
        return {name: self.show.get(name, name) for name in sorted(self._template().fields)}
