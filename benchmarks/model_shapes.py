"""Models of a size without weights: a configuration and a tokenizer, for vLLM's `dummy` loading."""

from __future__ import annotations

from pathlib import Path

SHAPES: dict[str, dict[str, int]] = {
    "8b": {
        "vocab_size": 128256, "hidden_size": 4096, "intermediate_size": 14336,
        "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
    },
    "tiny": {
        "vocab_size": 1000, "hidden_size": 64, "intermediate_size": 128,
        "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2,
    },
}  # fmt: skip
"""Llamas by their sizes."""
WINDOW = 8192  # tokens of a shape: its tokenizer has one a byte


def write_shape(name: str, folder: Path) -> Path:
    """Write the configuration of a Llama and a byte-level tokenizer; there are no weights."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, PreTrainedTokenizerFast

    letters = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "<s>", "</s>"]
    inner = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(letters)}, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    special = {"bos_token": "<s>", "eos_token": "</s>"}
    made = PreTrainedTokenizerFast(tokenizer_object=inner, **special)
    made.chat_template = "{{ bos_token }}{% for m in messages %}{{ m.content }}\n{% endfor %}"
    made.save_pretrained(folder)
    LlamaConfig(
        max_position_embeddings=WINDOW, architectures=["LlamaForCausalLM"],
        torch_dtype="bfloat16", bos_token_id=256, eos_token_id=257, **SHAPES[name],
    ).save_pretrained(folder)  # fmt: skip
    return folder
