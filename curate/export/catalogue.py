"""Every export form by name."""

from __future__ import annotations

from curate.errors import ConfigError, did_you_mean
from curate.export import goal_form, prompt_forms
from curate.export import step_forms as steps
from curate.export import trainer_forms as other
from curate.export import trl_forms as trl
from curate.export.forms import (
    NO_CANDIDATE,
    NO_GOALS,
    NO_PAIR,
    NO_PROMPT,
    NO_PROMPTS,
    NO_RANKING,
    NO_REFERENCE,
    NO_SCORE,
    NO_STEPS,
    PAIRS_VERSION,
    Form,
)

_PAIRED = ("id", "prompt", "candidates", "pairs")
_ANSWERED = ("id", "prompt", "candidates")
_PROMPTS = (*_ANSWERED, "other_prompt")
_GOALS = (*_PAIRED, "goals")
_STEPS = ("id", "prompt", "steps")
_STEP_PAIRS = (*_PAIRED, "step_pairs")

_TRL, _LLAMA = ("TRL 1.16.0",), ("LLaMA-Factory 0.9.5",)
_AXOLOTL, _VERL = ("Axolotl 0.19.0",), ("verl 0.9.1",)

_ASKED = {"prompt": "instruction", "query": "input", "system": "system", "history": "history"}
"""The columns of a conversation in LLaMA-Factory's alpaca, by its own words for them."""

FORMS: dict[str, Form] = {
    "preference": Form(
        "TRL preference, message lists", _PAIRED, NO_PAIR, trl.preference,
        whole_margins=True, version=3, read_by=_TRL,
    ),
    "preference-text": Form(
        "TRL preference, strings", _PAIRED, NO_PAIR, trl.preference_text,
        whole_margins=True, version=3, read_by=_TRL,
    ),
    "implicit": Form(
        "TRL preference, implicit prompt", _PAIRED, NO_PAIR, trl.implicit,
        whole_margins=True, version=2, read_by=_TRL,
    ),
    "unpaired": Form("TRL unpaired (KTO, BCO)", _PAIRED, NO_PAIR, trl.unpaired, read_by=_TRL),
    "prompt-only": Form("TRL prompt-only", ("id", "prompt"), NO_PROMPT, trl.prompt_only),
    "ranked": Form(
        "Nectar, ranked answers", (*_ANSWERED, "scores"), NO_RANKING, trl.ranked, version=2
    ),
    "best": Form(
        "TRL chat, best answers", (*_ANSWERED, "scores"), NO_SCORE, trl.best_answer, read_by=_TRL
    ),
    "scored": Form(
        "TRL chat, every scored answer", (*_ANSWERED, "scores"), NO_SCORE, trl.scored,
        version=2, read_by=_TRL,
    ),
    "prompts": Form(
        "one answer under two prompts", _PROMPTS, NO_PROMPTS, prompt_forms.prompts, version=2
    ),
    "goals": Form("a pair for each of its two goals", _GOALS, NO_GOALS, goal_form.goals),
    "stepwise": Form("TRL stepwise supervision", _STEPS, NO_STEPS, steps.stepwise),
    "axolotl-stepwise": Form(
        "Axolotl stepwise_supervised", _STEPS, NO_STEPS, steps.axolotl_stepwise, read_by=_AXOLOTL
    ),
    "step-preference": Form(
        "a step over a step", _STEP_PAIRS, NO_PAIR, steps.step_preference, read_by=_TRL
    ),
    "candidates": Form(
        "nested rows as they are", _ANSWERED, NO_CANDIDATE, trl.candidates, version=2
    ),
    "negatives": Form("D2O, negatives and samples", _PAIRED, NO_PAIR, other.negatives),
    "sharegpt": Form(
        "LLaMA-Factory sharegpt, ranking", _PAIRED, NO_PAIR, other.sharegpt,
        {"formatting": "sharegpt", "ranking": True,
         "columns": {"messages": "conversations", "chosen": "chosen", "rejected": "rejected"}},
        read_by=_LLAMA,
    ),
    "sharegpt-kto": Form(
        "LLaMA-Factory sharegpt, KTO", _PAIRED, NO_PAIR, other.sharegpt_kto,
        {"formatting": "sharegpt",
         "columns": {"messages": "conversations", "kto_tag": "kto_tag"}},
        read_by=_LLAMA,
    ),
    "alpaca": Form(
        "LLaMA-Factory alpaca, ranking", _PAIRED, NO_PAIR, other.alpaca,
        {"formatting": "alpaca", "ranking": True,
         "columns": {**_ASKED, "chosen": "chosen", "rejected": "rejected"}},
        read_by=_LLAMA,
    ),
    "alpaca-kto": Form(
        "LLaMA-Factory alpaca, KTO", _PAIRED, NO_PAIR, other.alpaca_kto,
        {"formatting": "alpaca",
         "columns": {**_ASKED, "response": "output", "kto_tag": "kto_tag"}},
        read_by=_LLAMA,
    ),
    "openrlhf": Form(
        "OpenRLHF reward model and DPO", _PAIRED, NO_PAIR, other.openrlhf,
        read_by=("OpenRLHF 0.11.2",),
    ),
    "axolotl": Form(
        "Axolotl chat_template.default", _PAIRED, NO_PAIR, other.axolotl, read_by=_AXOLOTL
    ),
    "axolotl-chat": Form(
        "Axolotl chat_template.argilla_chat", _PAIRED, NO_PAIR, trl.axolotl_chat,
        whole_margins=True, version=2, read_by=_AXOLOTL,
    ),
    "bradley-terry": Form(
        "Axolotl bradley_terry", _PAIRED, NO_PAIR, other.bradley_terry, version=2, read_by=_AXOLOTL
    ),
    "nemo-rl": Form("NeMo-RL preference", _PAIRED, NO_PAIR, other.nemo_rl),
    "nemo-aligner": Form(
        "NeMo-Aligner DPO and RPO", _PAIRED, NO_PAIR, other.nemo_aligner,
        only_whole=("chosen_reward", "rejected_reward"), version=2,
    ),
    "nemo-aligner-rm": Form("NeMo-Aligner reward model", _PAIRED, NO_PAIR, other.nemo_aligner_rm),
    "torchtune": Form(
        "torchtune preference, lists", _PAIRED, NO_PAIR, trl.torchtune,
        whole_margins=True, version=2, read_by=("torchtune 0.6.1",),
    ),
    "verl": Form(
        "verl RL prompts", ("id", "prompt", "reference"), NO_REFERENCE, other.verl, version=2,
        numbered=other.verl_numbered, read_by=_VERL,
    ),
    "verl-rm": Form("verl reward model", _PAIRED, NO_PAIR, other.verl_rm, read_by=_VERL),
    "ultrafeedback": Form(
        "UltraFeedback-binarized", _PAIRED, NO_PAIR, other.ultrafeedback, read_by=_AXOLOTL
    ),
}  # fmt: skip


ALIASES = {
    "dpo": "preference", "orpo": "preference", "cpo": "preference", "trl": "preference",
    "rm": "implicit", "reward": "implicit", "kto": "unpaired", "bco": "unpaired",
    "prm": "stepwise", "llama-factory": "sharegpt", "nectar": "ranked",
}  # fmt: skip
"""Other names of forms: of the trainings that read them."""


def form_named(name: str) -> Form:
    """Return the form called `name`. Raises ConfigError with the closest known name."""
    if name not in FORMS and name not in ALIASES:
        hint = did_you_mean(name, {**FORMS, **ALIASES})
        raise ConfigError(f"unknown export form {name!r}{hint} (`curate export --list` has all)")
    return FORMS[ALIASES.get(name, name)]


def form_identity(name: str) -> str:
    """Return what tells a form's records from those of other forms, and of its own versions."""
    form = form_named(name)
    own = name if form.version == 1 else f"{name} {form.version}"
    return f"{own}, pairs {PAIRS_VERSION}" if "pairs" in form.needs else own
