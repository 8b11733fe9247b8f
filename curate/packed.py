"""BERT encoders on a processor, without padding: texts lie end to end in one matrix of tokens.

Nearly all of an encoder's work is the same for every token, whichever text it is of: products
with weights, norms, the activation. Only attention looks at a text as a whole, so only there are
texts told apart, those of one length taken together.
A text's numbers do not depend on what else is in the matrix: it always has as many rows, the last
of them idle, so that all products are done alike, and each row is summed in the same order wherever
it lies.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

ROWS = 1024  # tokens of one matrix: enough to keep a processor busy, and no more memory than that


class Run(NamedTuple):
    """Texts of one length that lie side by side."""

    start: int
    """The first token's row in the matrix."""
    texts: list[int]
    length: int
    """Tokens of each."""


def packs(sizes: Sequence[int], most: int = ROWS) -> Iterator[list[Run]]:
    """Yield the runs of one matrix after another, of at most `most` tokens or one text.

    `sizes` holds each text's tokens. Longest first, and each matrix is filled up with the longest
    text that still fits, so that little is left empty.
    """
    order = np.argsort(sizes, kind="stable").tolist()
    left = [sizes[text] for text in order]
    while order:
        runs: list[Run] = []
        used, at = 0, len(left) - 1
        while at >= 0:
            size, text = left.pop(at), order.pop(at)
            if runs and runs[-1].length == size:
                runs[-1].texts.append(text)
            else:
                runs.append(Run(used, [text], size))
            used += size
            at = bisect_right(left, most - used) - 1
        yield runs


class PackedBert:
    """The layers of a BERT, in the number format `dtype` for products and float32 for the rest.

    `bert` is the transformers library's model; see `fits` for which ones will do.
    """

    def __init__(self, bert: Any, dtype: Any) -> None:
        self._bert, self._dtype = bert, dtype
        self._heads = int(bert.config.num_attention_heads)
        self._weights = [self._weights_of(layer) for layer in bert.encoder.layer]

    def _weights_of(self, layer: Any) -> list[tuple[Any, Any]]:
        """Return (weight, bias) of query, key and value in one, and of the three layers after."""
        import torch

        look = layer.attention.self
        scale = (look.query.out_features / self._heads) ** -0.5  # what attention divides by
        weights = [look.query.weight * scale, look.key.weight, look.value.weight]
        biases = [look.query.bias * scale, look.key.bias, look.value.bias]
        after = [layer.attention.output.dense, layer.intermediate.dense, layer.output.dense]
        pairs = [(torch.cat(weights), torch.cat(biases)), *((p.weight, p.bias) for p in after)]
        to = self._dtype
        return [(weight.detach().to(to), bias.detach().to(to)) for weight, bias in pairs]

    def tokens(self, ids: Sequence[Sequence[int]], runs: Sequence[Run]) -> Any:
        """Return the last layer's vectors (rows, d) of one matrix; rows beyond the runs are idle.

        `ids` holds each text's token numbers.
        """
        import torch

        used = runs[-1].start + len(runs[-1].texts) * runs[-1].length
        words = np.zeros(max(used, ROWS), dtype=np.int64)
        places = np.zeros(len(words), dtype=np.int64)
        for start, texts, length in runs:
            stop = start + len(texts) * length
            words[start:stop] = np.concatenate([ids[text] for text in texts])
            places[start:stop] = np.tile(np.arange(length), len(texts))
        state = self._bert.embeddings(
            input_ids=torch.from_numpy(words)[None], position_ids=torch.from_numpy(places)[None]
        )[0]
        for layer, weights in zip(self._bert.encoder.layer, self._weights, strict=True):
            state = self._layer(layer, weights, state, runs)
        return state

    def _layer(self, layer: Any, weights: list[tuple[Any, Any]], state: Any, runs: Any) -> Any:
        from torch.nn.functional import linear

        looking, attended, up, down = weights
        context = self._attention(linear(state.to(self._dtype), *looking), runs)
        state = layer.attention.output.LayerNorm(linear(context, *attended) + state)
        wide = layer.intermediate.intermediate_act_fn(linear(state.to(self._dtype), *up))
        return layer.output.LayerNorm(linear(wide, *down) + state)

    def _attention(self, looking: Any, runs: Sequence[Run]) -> Any:
        """Return what each token gathers (rows, d) from the others of its text."""
        import torch

        rows, width = looking.shape[0], looking.shape[1] // 3
        context = torch.zeros(rows, width, dtype=looking.dtype)
        heads, each = self._heads, width // self._heads
        for start, texts, length in runs:
            at, n = slice(start, start + len(texts) * length), len(texts)
            split = looking[at].view(n, length, 3, heads, each).permute(2, 0, 3, 1, 4)
            query, key, value = split.reshape(3, n * heads, length, each)
            share = torch.bmm(query, key.transpose(1, 2)).softmax(-1)
            found = torch.bmm(share, value).view(n, heads, length, each)
            context[at].view(n, length, heads, each).copy_(found.transpose(1, 2))
        return context


def fits(model: Any) -> bool:
    """Return whether a transformers model is a plain BERT on a processor."""
    from torch.nn import Linear

    config = getattr(model, "config", None)
    if type(model).__name__ != "BertModel" or config is None or model.device.type != "cpu":
        return False
    parts = ("query", "key", "value", "dense")
    layers = [part for name, part in model.encoder.named_modules() if name.endswith(parts)]
    plain = all(type(part) is Linear for part in layers)  # no adapter, not quantised
    absolute = getattr(config, "position_embedding_type", "absolute") == "absolute"
    return bool(plain and absolute and not config.is_decoder and not config.add_cross_attention)
