"""Rows with pairs for trainers to read, what they must find in them, and a tokenizer of bytes."""

from __future__ import annotations

import importlib
import importlib.metadata
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from curate.export.catalogue import FORMS
from curate.export.trainer_files import Layout, write_form
from curate.schema import COLUMNS

SYSTEM = {"role": "system", "content": "Answer in one line."}
TURNS = [
    {"role": "user", "content": "One?"}, {"role": "assistant", "content": "1."},
    {"role": "user", "content": "Größe\nof {x} & two?"},
]  # fmt: skip
PROMPTS = [[TURNS[0]], [SYSTEM, *TURNS], TURNS]
CHOSEN = ["1", "2: {x}\nexactly, 你好", "It is 2."]
REJECTED = ["I do not know.", "3", "It is 3."]
MARGINS = [1.5, None, 0.25]
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def table() -> pa.Table:
    """Three rows: one question; a conversation under a system message; one without."""
    rows = []
    for number, prompt in enumerate(PROMPTS):
        texts = (CHOSEN[number], REJECTED[number])
        rows.append(
            {
                "id": f"r{number}",
                "prompt": prompt,
                "reference": CHOSEN[number],
                "candidates": [{"text": text, "model": "m", "drop": None} for text in texts],
                "scores": [4.0, 1.0],
                "pairs": [{"chosen": 0, "rejected": 1, "margin": MARGINS[number]}],
                "steps": [
                    {"candidate": 0, "text": "6 is even.", "right": True},
                    {"candidate": 0, "text": "So 7 is.", "right": False},
                ],
            }
        )
    return pa.Table.from_pylist(rows, schema=pa.schema([(n, COLUMNS[n]) for n in rows[0]]))


def exported(folder: Path, form: str, file: str = "parquet") -> Path:
    """Write the rows in a form to a folder called `mine`, as `curate export` does."""
    write_form([table()], folder / "mine", form, Layout(file))
    return folder / "mine"


def the_file(folder: Path) -> str:
    (found,) = folder.glob("train-*.parquet")
    return str(found)


def loaded(folder: Path) -> Any:
    """Load an exported folder as most trainers do."""
    import datasets

    cache = str(folder.parent / "cache")
    return datasets.load_dataset(str(folder), cache_dir=cache)["train"]


def byte_tokenizer() -> Any:
    """A tokenizer whose tokens are bytes, so that what was read can be told from its ids."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE({letter: i for i, letter in enumerate(alphabet)}, []))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    special = ("<|im_start|>", "<|im_end|>", "<pad>")
    core.add_special_tokens([AddedToken(token, special=True) for token in special])
    return PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token="<|im_end|>", pad_token="<pad>", chat_template=TEMPLATE,
        clean_up_tokenization_spaces=False,
    )  # fmt: skip


def asked(number: int) -> str:
    """The prompt of row `number` in the template above, up to where the answer begins."""
    turns = "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in PROMPTS[number])
    return turns + "<|im_start|>assistant\n"


def trained_on(ids: Any, labels: Any, tokenizer: Any) -> str:
    """Decode the tokens that count in the loss."""
    return str(tokenizer.decode([i for i, label in zip(ids, labels, strict=True) if label != -100]))


def needs(package: str) -> None:
    """Skip where a trainer is not installed."""
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(
            f"{package} is not here; `make test-trainers` installs it apart",
            allow_module_level=True,
        )


def hold_to_record(form: str, trainer: str, package: str) -> None:
    """Hold what docs/exports.md says of a form to the version that has just read it."""
    said = f"{trainer} {importlib.metadata.version(package)}"
    assert said in FORMS[form].read_by, f"`read_by` of {form} lacks {said!r}"
