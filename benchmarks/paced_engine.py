"""vLLM with the number of output tokens fixed by each prompt, for `engine.py` only.

So two ways of asking for the same answers write the same number of tokens.
"""

from __future__ import annotations

from typing import Any

import xxhash

from curate.component import Runtime
from curate.engines import vllm as product
from curate.engines.vllm import VLLM, VLLMEngine


class Paced(VLLM):
    """`VLLM`, but an answer has between `shortest` and `longest` tokens, whatever it says."""

    shortest: Runtime[int] = 48
    longest: Runtime[int] = 48

    def load(self) -> VLLMEngine:
        """Load the model, after making every call of this process as long as it should be."""
        made = product.chat_call

        def paced(prompt: Any, *rest: Any) -> Any:
            call = made(prompt, *rest)
            if call.params is not None:
                pace(call.params, call.ids, self.shortest, self.longest)
            return call

        product.chat_call = paced
        return super().load()


def pace(params: Any, ids: list[int], shortest: int, longest: int) -> None:
    """Set how many tokens follow these: log-uniform between the two, by a hash of the prompt."""
    share = xxhash.xxh3_64_intdigest(str(ids).encode()) / 2.0**64
    params.max_tokens = round(shortest * (longest / shortest) ** share)
    params.min_tokens = params.max_tokens
    params.ignore_eos = True
