"""What TRL does with our exports: its own checks, then one real training step of each kind."""

import copy
import json
import os

import pyarrow as pa
import pytest

from curate.export.catalogue import FORMS
from curate.export.trainer_files import Layout, write_form
from curate.schema import CANDIDATES, COLUMNS, PAIRS, PROMPT, STEP_PAIRS, STEPS

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
pytest.importorskip("trl", reason="needs the extra `dev`")

TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|> {{ m['content'] }} <|end|> {% endfor %}"
    "{% if add_generation_prompt %}<|assistant|> {% endif %}"
)
WORDS = ["what", "is", "a", "good", "answer", "yes", "no", "maybe", "seven"]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A few rows with one pair each, written in the forms that TRL reads."""
    rows = []
    for i in range(4):
        texts = [f"yes maybe {WORDS[i]}", "no"]
        made = [{"text": t, "model": f"m{k}", "drop": None} for k, t in enumerate(texts)]
        pair = {"chosen": 0, "rejected": 1, "margin": 0.5 + i, "p_correct": 0.9, "source": "s"}
        prompt = [{"role": "user", "content": f"what is {WORDS[i]}"}]
        steps = [
            {"candidate": k, "text": t, "right": right, "tries": 1, "ended_right": int(right)}
            for k in (0, 1)
            for t, right in [("yes", True), (WORDS[i], k == 0)]
        ]
        parted = {"prefix": "yes\n", "chosen": WORDS[i], "rejected": "no", "q_chosen": 1.0}
        rows.append(
            {"id": f"r{i}", "prompt": prompt, "candidates": made, "pairs": [pair],
             "steps": steps, "step_pairs": [parted], "scores": [2.0, 1.0]}
        )  # fmt: skip
    schema = pa.schema(
        [("id", pa.string()), ("prompt", PROMPT), ("candidates", CANDIDATES), ("pairs", PAIRS),
         ("steps", STEPS), ("step_pairs", STEP_PAIRS), ("scores", COLUMNS["scores"])]
    )  # fmt: skip
    assert all(COLUMNS[f.name] == f.type for f in schema)

    def load(form, margins=(0.5, 1.5, 2.5, 3.5), meta=None, keep=()):
        import datasets

        for row, margin in zip(rows, margins, strict=True):
            row["pairs"][0]["margin"] = margin
        table = pa.Table.from_pylist(rows, schema=schema)
        if meta is not None:
            table = table.append_column("meta", pa.array([json.dumps(m) for m in meta]))
        folder = tmp_path_factory.mktemp(form)
        write_form([table], folder / "out", form, Layout("parquet", keep=keep))
        cache = str(folder / "cache")
        return datasets.load_dataset(str(folder / "out"), cache_dir=cache)["train"]

    return load


@pytest.fixture(scope="module")
def tokenizer():
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special = ["<|user|>", "<|assistant|>", "<|system|>", "<|end|>", "<pad>", "<unk>"]
    vocabulary = {word: i for i, word in enumerate([*special, *WORDS])}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", eos_token="<|end|>", unk_token="<unk>",
        chat_template=TEMPLATE,
    )  # fmt: skip


def tiny(tokenizer, kind, num_labels=1):
    import transformers

    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=128,
        pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id,
        num_labels=num_labels,
    )  # fmt: skip
    return getattr(transformers, kind)(config)


def one_step(name, model, data, tokenizer, folder):
    import trl

    options = {
        "output_dir": str(folder), "max_steps": 1, "per_device_train_batch_size": 4,
        "report_to": [], "use_cpu": True, "bf16": False, "disable_tqdm": True,
        "gradient_checkpointing": False,
    }  # fmt: skip
    config = getattr(trl, f"{name}Config")(**options)
    # Without a reference model of its own the trainer would look for one on the Hub.
    reference = {} if name in ("Reward", "SFT") else {"ref_model": copy.deepcopy(model)}
    trainer = getattr(trl, f"{name}Trainer")(
        model=model, args=config, train_dataset=data, processing_class=tokenizer, **reference
    )
    return trainer.train().training_loss


@pytest.mark.parametrize(
    ("form", "conversational", "kind"),
    [
        ("preference", True, "preference"),
        ("preference-text", False, "preference"),
        ("implicit", True, "preference"),
        ("unpaired", True, "unpaired_preference"),
        ("prompt-only", True, "prompt_only"),
        ("step-preference", False, "preference"),
        ("stepwise", False, "stepwise"),
    ],
)
def test_trl_knows_the_form(exported, form, conversational, kind):
    from trl.data_utils import is_conversational

    row = exported(form)[0]
    assert is_conversational(row) is conversational
    wanted = {
        "preference": {"chosen", "rejected"},
        "unpaired_preference": {"prompt", "completion", "label"},
        "prompt_only": {"prompt"},
        "stepwise": {"prompt", "completions", "labels"},
    }[kind]
    assert wanted <= set(row)


TRAINED = [
    ("DPO", "preference"),
    ("DPO", "preference-text"),
    ("DPO", "step-preference"),
    ("Reward", "implicit"),
    ("KTO", "unpaired"),
    ("SFT", "best"),
    ("SFT", "scored"),
]


@pytest.mark.parametrize(("name", "form"), TRAINED)
def test_one_training_step(exported, tokenizer, tmp_path, name, form):
    kind = "LlamaForSequenceClassification" if name == "Reward" else "LlamaForCausalLM"
    loss = one_step(name, tiny(tokenizer, kind), exported(form), tokenizer, tmp_path)
    assert 0.0 < loss < 10.0


def test_the_docs_say_which_forms_are_trained_on():
    said = {name for name, form in FORMS.items() if any("TRL" in by for by in form.read_by)}
    assert said == {form for _, form in TRAINED}


@pytest.mark.parametrize("form", ["implicit", "preference", "preference-text"])
@pytest.mark.parametrize("margins", [(None,) * 4, (None, 1.5, None, 0.5)])
def test_a_reward_model_trains_where_margins_are_missing(
    exported, tokenizer, tmp_path, margins, form
):
    """A set of plain chosen and rejected answers has no margins, and a null stops the trainer."""
    data = exported(form, margins)
    expected = [m or 0.0 for m in margins] if any(margins) else None
    assert (data["margin"][:] if "margin" in data.column_names else None) == expected
    model = tiny(tokenizer, "LlamaForSequenceClassification")
    assert 0.0 < one_step("Reward", model, data, tokenizer, tmp_path) < 10.0


def test_what_a_reference_model_gave_is_passed_on(exported, tokenizer, tmp_path):
    """With stored log-probabilities DPO trains; tools and template arguments reach the template."""
    keep = ("ref_chosen_logps", "ref_rejected_logps", "tools", "chat_template_kwargs")
    tools = [{"type": "function", "function": {"name": "seven", "parameters": {"a": [1]}}}]
    meta = [
        {"ref_chosen_logps": -1.5 - i, "ref_rejected_logps": -3, "tools": tools,
         "chat_template_kwargs": {"thinking": False}}
        for i in range(4)
    ]  # fmt: skip
    data = exported("preference", meta=meta, keep=keep)
    assert data["ref_chosen_logps"][:] == [-1.5, -2.5, -3.5, -4.5]
    assert json.loads(data["tools"][0]) == tools
    assert data["chat_template_kwargs"][0] == {"thinking": False}
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.chat_template = "{{ tools[0].function.name if not thinking }} " + TEMPLATE
    loss = one_step("DPO", tiny(tokenizer, "LlamaForCausalLM"), data, tokenizer, tmp_path)
    assert 0.0 < loss < 10.0


def test_one_step_of_a_process_reward_model(exported, tokenizer, tmp_path):
    prm = pytest.importorskip("trl.experimental.prm", reason="TRL from 0.29 to 1.8 has PRMTrainer")
    data = exported("stepwise")
    assert len(data) == 8
    config = prm.PRMConfig(
        output_dir=str(tmp_path), max_steps=1, per_device_train_batch_size=4, report_to=[],
        use_cpu=True, bf16=False, disable_tqdm=True, gradient_checkpointing=False,
        step_separator=" no",
    )  # fmt: skip
    model = tiny(tokenizer, "LlamaForTokenClassification", num_labels=2)
    trainer = prm.PRMTrainer(
        model=model, args=config, train_dataset=data, processing_class=tokenizer
    )
    labels = [[x for x in row if x != -100] for row in trainer.train_dataset["labels"]]
    assert labels[:2] == [[1, 1], [1, 0]]
    assert 0.0 < trainer.train().training_loss < 10.0
