"""Embed each prompt, its reference, or each of its answers, as one unit vector."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from curate.arrays import flat, last_turn, lengths, lists, one_chunk, text_of
from curate.component import Runtime
from curate.encoders import Precision, check_encoder, load_encoder
from curate.errors import StageError
from curate.stage import Context, Result, Stage
from curate.stages.new_column import NewColumn


class Embed(Stage, name="embed"):
    """Write one unit vector a row, of the prompt, its last turn or the reference, or one an answer.

    `model` is "packaged:minilm" (works offline) or a sentence-transformers name. What has no
    text gets a null. The encoder cuts texts at its own window (256 tokens for MiniLM). A text's
    vector does not depend on its shard or batch, and is looked up where any run on the store has
    encoded the text before with the same weights, libraries and kind of processor.
    """

    version = 3
    needs = ("prompt",)
    model: str = "packaged:minilm"
    """"packaged:minilm", or a sentence-transformers name."""
    on: Literal["prompt", "last_turn", "reference", "candidates"] = "prompt"
    """Encode the whole prompt, its last turn, the reference, or each candidate's text: then the
    column is a list, aligned with the candidates."""
    precision: Precision = "bf16"
    """Of the matrix products: bf16, or fp32 for processors that do not multiply bfloat16."""
    dtype: Literal["float16", "float32"] = "float16"
    """Of the column: what is stored."""
    to: NewColumn = "embedding"
    """The column to write."""
    batch_size: Runtime[int] = Field(64, ge=1)
    """Most texts in a batch, where a batch is padded (on a GPU, and models other than BERT)."""
    cache: Runtime[bool] = True
    """Keep each text's vector in the store (4 bytes a number), for what encodes the text again."""

    @model_validator(mode="after")
    def _apart(self) -> Embed:
        if self.on == "candidates" and self.to == "embedding":
            raise ValueError("`embedding` holds one vector a row; name another column in `to`")
        return self

    def needed(self) -> tuple[str, ...]:
        """Need the column that is encoded."""
        return (self.on,) if self.on in ("candidates", "reference") else self.needs

    def ready(self) -> None:
        """Raise ConfigError without the encoder's package or folder."""
        check_encoder(self.model)

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return the vectors as a fixed-size list, or as lists of them."""
        if self.on == "candidates":
            found = self._encoded(flat(view["candidates"], "text"), ctx)
            return {self.to: lists(lengths(view["candidates"]), found)}
        if self.on == "reference":
            return {self.to: self._encoded(one_chunk(view["reference"]), ctx)}
        column = text_of(view["prompt"]) if self.on == "prompt" else last_turn(view["prompt"])
        return {self.to: self._encoded(column, ctx)}

    def _encoded(self, column: pa.Array, ctx: Context) -> pa.Array:
        texts: list[str | None] = column.to_pylist()
        there = np.array([bool(text and text.strip()) for text in texts], dtype=bool)
        encoder = load_encoder(self.model, self.precision)
        full = [text for text, has in zip(texts, there, strict=True) if text is not None and has]
        found = ctx.encode(encoder, full, self.batch_size, self.cache)
        if not np.isfinite(found).all():
            raise StageError(
                f"the encoder {self.model!r} returned NaN or infinity; set `precision: fp32`"
            )
        return embedding_column(found, there, self.dtype)


def embedding_column(
    vectors: np.ndarray, there: np.ndarray, dtype: Literal["float16", "float32"]
) -> pa.Array:
    """Return a fixed-size-list column of n rows: a vector where `there` (n) is true, else null.

    `vectors` is (there.sum(), d).
    """
    full = np.zeros((len(there), vectors.shape[1]), dtype=dtype)
    full[there] = vectors
    values = pa.array(full.reshape(-1))
    return pa.FixedSizeListArray.from_arrays(values, vectors.shape[1], mask=pa.array(~there))
