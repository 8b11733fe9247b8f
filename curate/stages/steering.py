"""Signs that a text tries to steer its judge, or the model behind it.

The judge's defences (fences, control tokens kept as text, anchored verdicts) do not rest on
these signs. But a fence does not keep a model from believing what it reads, and a small judge
may well do as it is told; so the judges count the signs, and `drop_suspicious` takes out the
answers that show them. Nobody's list of signs is complete, and an honest answer about prompt
injection, or a table with a "rating" column, shows some too.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import field_validator

from curate.arrays import Column, flat, large, load_polars
from curate.errors import did_you_mean
from curate.methods.judgments import true
from curate.stage import Context, Result, Stage
from curate.stages.live import with_reasons
from curate.stages.pair_edits import first_reason

FLOOD = 40_000  # characters; few honest answers are longer, and a flood pushes the rubric away

# RE2 expressions: linear in the text, whatever it holds.
_SIGNS: dict[str, str] = {
    "control token": (
        r"<[|\x{FF5C}][^<>|\x{FF5C}\n]{1,40}[|\x{FF5C}]>"  # ChatML, Llama 3, Phi, DeepSeek
        r"|</?s>|<(?:bos|eos|pad|unk|start_of_turn|end_of_turn)>"  # SentencePiece, Gemma
        r"|\[/?INST\]|<</?SYS>>|\[(?:gMASK|/?SYSTEM_PROMPT)\]"  # Llama 2, Mistral, GLM
    ),
    "verdict syntax": (
        r"(?i)\[\[\s?(?:a|b|c|tie|[ab](?:<{1,2}|>{1,2}|=)[ab])\s?\]\]"
        r"|\[result\]"
        r"|(?m:(?:^|[>\r\x{85}\x{2028}\x{2029}])[\s*_#>]{0,8}(?:overall |final )?"
        r"(?:score|rating|verdict|winner|ranking)[\s*_]{0,4}"
        r"[:=][\s*_]{0,4}[\[(]{0,2}(?:\d|a\b|b\b|tie\b))"
        r"|[\"'](?:score|rating|verdict|winner|ranking)[\"']\s{0,4}:"
    ),
    "invisible characters": (
        # Soft hyphen, zero-width space, bidi controls, word joiner and kin, BOM, tags, C0
        # controls. Joiners and direction marks stay out: scripts and emoji need them.
        r"[\x{AD}\x{200B}\x{202A}-\x{202E}\x{2060}-\x{2069}\x{FEFF}\x{E0000}-\x{E007F}"
        r"\x{01}-\x{08}\x{0B}\x{0E}-\x{1F}\x{7F}]|\x00"
    ),
    "mixed scripts": (
        r"[A-Za-z]\p{Cyrillic}|\p{Cyrillic}[A-Za-z]"
        r"|[A-Za-z][\x{391}\x{392}\x{395}-\x{397}\x{399}\x{39A}\x{39C}\x{39D}\x{39F}\x{3A1}"
        r"\x{3A4}\x{3A5}\x{3A7}\x{3B1}\x{3B9}\x{3BD}\x{3BF}][A-Za-z]"
    ),
    "forged frame": (
        r"(?i)</?(?:answer|conversation|reference)(?:-[0-9a-z]{1,32})?>"
        r"|<!--\s{0,4}(?:system|user|assistant)\s{0,4}-->"
        r"|(?m:^[#*\s]{0,6}(?:system|assistant|judge|evaluator)(?: prompt| message)?[*\s]{0,4}:)"
        r"|(?m:^[#*\s=-]{0,12}end of (?:the )?(?:answer|response|conversation|candidate))"
    ),
    "addresses the judge": (
        r"(?i)\b(?:ignore|disregard|forget|override) (?:\w+ ){0,3}"
        r"(?:instructions?|rubric|criteria|criterion|prompt|rules)\b"
        r"|\b(?:dear|attention|note to|as) (?:the |an? )?(?:ai )?"
        r"(?:judge|grader|evaluator|reviewing model|scoring model)\b"
        r"|\b(?:rate|score|grade|give|award|assign) (?:this|me|my|answer [ab]|response [ab])\b"
        r"[^.\n]{0,40}\b(?:\d{1,3}|highest|maximum|full marks|perfect|top (?:score|mark|rating))"
        r"|\b(?:prefer|choose|pick|select) (?:this|my|answer [ab]\b|response [ab]\b"
        r"|the (?:first|second) (?:answer|response))"
        r"|\bthe (?:correct|right|only valid) (?:score|verdict|rating) (?:is|would be)\b"
    ),
}
_ANY = "|".join(f"(?:{sign})" for sign in _SIGNS.values())
_NO_CONTENT = (  # what master-key attacks on judges look like (Zhao et al. 2025)
    r"^[^\pL\pN]*(?:[^\pL\pN\s]|(?i:thought process|solution|answer|explanation"
    r"|let'?s (?:solve|think)[^.\n]{0,40}))[^\pL\pN]*$"
)
REASONS = (*_SIGNS, "no content", "flood")


def steering_signs(texts: Column) -> dict[str, npt.NDArray[np.bool_]]:
    """Return for each of `REASONS` which texts show it; a null text shows none.

    One pass over the texts in Arrow, and one for each reason over the few that show any.
    """
    pl = load_polars()  # keeps what it compiled; RE2 needs 2 ms for these classes each time

    column = large(texts)
    suspects = np.flatnonzero(true(pc.match_substring_regex(column, _ANY)))
    few = column.take(pa.array(suspects))
    found = {reason: np.zeros(len(column), dtype=bool) for reason in _SIGNS}
    for reason, sign in _SIGNS.items() if len(few) else ():
        found[reason][suspects] = true(pc.match_substring_regex(few, sign))
    found["no content"] = true(pl.Series(column).str.contains(_NO_CONTENT).to_arrow())
    return found | {"flood": true(pc.greater(pc.utf8_length(column), FLOOD))}


class DropSuspicious(Stage, name="drop_suspicious"):
    """Drop candidates that show signs of steering a judge; the reason names the first sign.

    Put it before the judges. Of some 10,000 honest answers of public sets 0.2 % show a sign.
    """

    signs: tuple[str, ...] = REASONS
    """The signs that count: control token, verdict syntax, invisible characters, mixed scripts,
    forged frame, addresses the judge, no content, flood."""

    needs = ("candidates",)
    writes = ("candidates",)

    @field_validator("signs")
    @classmethod
    def _known(cls, signs: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [sign for sign in signs if sign not in REASONS]
        if unknown:
            raise ValueError(f"no sign {unknown[0]!r}{did_you_mean(unknown[0], REASONS)}")
        return signs

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return the candidates with their reasons; a reason given earlier stays."""
        found = steering_signs(flat(view["candidates"], "text"))
        masks = [(found[sign], f"suspicious: {sign}") for sign in self.signs]
        reason = first_reason(flat(view["candidates"], "drop"), masks)
        return {"candidates": with_reasons(view["candidates"], reason)}
