"""Tiny randomly initialised classifiers with a byte-level tokenizer, made offline.

And the tokenizer of the small model that comes as a package.
"""

import pytest

from curate.engines import local_models
from curate.errors import ConfigError

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<{{ m.role }}>{{ m.content }}{{ eos_token }}"
    "{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)


def smollm2_tokenizer():
    """The real one; a test that asks for it is skipped where it is not there."""
    transformers = pytest.importorskip("transformers")
    try:
        folder = local_models.resolve(local_models.SMOLLM2)
    except ConfigError as error:
        pytest.skip(str(error))
    return transformers.AutoTokenizer.from_pretrained(str(folder))


def tokenizer(folder, template=None):
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    special = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    vocab = {text: i for i, text in enumerate([*letters, *special.values()])}
    inner = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    pairs = [("<s>", vocab["<s>"]), ("</s>", vocab["</s>"])]
    inner.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B:1 </s>:1", special_tokens=pairs
    )
    made = PreTrainedTokenizerFast(tokenizer_object=inner, model_max_length=256, **special)
    made.chat_template = template
    made.save_pretrained(folder)
    return made


def reward_model(folder, outputs=1):
    """A Llama that reads a conversation; returns (tokenizer, model)."""
    from transformers import LlamaForSequenceClassification

    return _llama(folder, LlamaForSequenceClassification, num_labels=outputs)


def causal(folder):
    """A Llama that writes; returns (tokenizer, model)."""
    from transformers import LlamaForCausalLM

    return _llama(folder, LlamaForCausalLM, initializer_range=0.3)


def _llama(folder, kind, **options):
    import torch
    from transformers import LlamaConfig

    letters = tokenizer(folder, TEMPLATE)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(letters), hidden_size=64, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=512, pad_token_id=letters.pad_token_id,
        bos_token_id=letters.bos_token_id, eos_token_id=letters.eos_token_id, **options,
    )  # fmt: skip
    model = kind(config).eval()
    model.save_pretrained(folder)
    return letters, model


def cross_encoder(folder, outputs=1):
    """A BERT that reads two texts; returns (tokenizer, model)."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    letters = tokenizer(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(letters), hidden_size=32, intermediate_size=32, num_hidden_layers=1,
        num_attention_heads=2, max_position_embeddings=128, num_labels=outputs,
        pad_token_id=letters.pad_token_id, initializer_range=0.5,
    )  # fmt: skip
    model = BertForSequenceClassification(config).eval()
    model.save_pretrained(folder)
    return letters, model
