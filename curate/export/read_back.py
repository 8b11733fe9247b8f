"""How the sources read back what an export wrote: the same prompts, answers and labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_PAIR = {"chosen": "chosen", "rejected": "rejected"}
_WHOLE = {"prompt": None, **_PAIR}
_SCORES = {"chosen_score": "score_chosen", "rejected_score": "score_rejected"}
_MODELS = {"chosen_model": "model_chosen", "rejected_model": "model_rejected"}
_CHATS = {
    "id": "id", "group": ["id"], "prompt": None, "response": "messages", "scores": ["score"],
    "model": "model",
}  # fmt: skip

READ_BACK: Mapping[str, Mapping[str, Any]] = {
    "preference": {
        "id": "id", "group": ["id"], **_PAIR, "margin": "margin", **_SCORES, **_MODELS,
    },
    "implicit": {**_WHOLE, "margin": "margin"},
    "axolotl-chat": {**_WHOLE, "margin": "margin"},
    "torchtune": {**_WHOLE, "margin": "margin"},
    "openrlhf": {**_PAIR, "margin": "margin"},
    "sharegpt": {"prompt": "conversations", **_PAIR},
    "ultrafeedback": {**_WHOLE, **_SCORES},
    "scored": _CHATS,
    "best": _CHATS,
    "ranked": {
        "id": "id", "prompt": "messages", "candidates": "answers", "ranks": "rank",
        "scores": ["score"],
    },
    "prompt-only": {"id": "id"},
    "verl": {"id": "extra_info.id", "reference": "reward_model.ground_truth"},
}  # fmt: skip
"""The `columns` of a source, by form. A form that is not here holds several turns as one text, or
less than the rows held. A margin that no pair has is no column, nor are scores where the rows have
none, and then they are not to be mapped."""
