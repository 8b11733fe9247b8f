"""Messages to token ids, so that text from rows can never act as a control token.

A chat template puts messages between control tokens such as `<|im_end|>`, and most tokenizers
read those names wherever they stand: an answer that holds them could end its own message and
open a system message. Here only the template's control tokens count. One that stands in a
message is cut in two before it is encoded, so the model sees the characters and nothing more.

The template comes with the model that the pipeline names and is trusted as far as its weights
are: it runs in transformers' sandbox, which keeps it from files and processes, in the process
that holds the model. What it makes of messages may not be much longer than they are; one that
never ends or fills the memory takes that process with it, and the run says so.
"""

from __future__ import annotations

import copy
import difflib
import re
import threading
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, TypeAlias

from curate.engines.contract import Message
from curate.errors import ConfigError, did_you_mean

_MOST_ADDED, _MOST_TIMES = 1_000_000, 8  # characters: added to the messages', and times theirs
_RENDERING = frozenset(
    {
        "add_generation_prompt", "chat_template", "continue_final_message", "conversation",
        "documents", "max_length", "messages", "padding", "return_assistant_tokens_mask",
        "return_dict", "return_tensors", "tokenize", "tokenizer_kwargs", "tools", "truncation",
    }
)  # fmt: skip
_MARKS = range(0xE000, 0xF900)  # private characters: one that no message holds marks the cuts


Argument: TypeAlias = bool | int | float | str
"""What a template may be told: `enable_thinking: false`."""


def checked_arguments(given: Mapping[str, Argument]) -> Mapping[str, Argument]:
    """Return a template's arguments. Raises ValueError for names that say how it is rendered."""
    for name in given:
        if not name.isidentifier() or name in _RENDERING:
            raise ValueError(f"{name!r} is no argument of a template's own")
    return given


class ChatTokenizer:
    """A Hugging Face tokenizer with a chat template. Safe to call from several threads.

    Raises ConfigError where the tokenizer has no chat template, or it has no use for one of the
    `arguments`.
    """

    def __init__(
        self, tokenizer: Any, model: str, arguments: Mapping[str, Argument] | None = None
    ) -> None:
        """Copy the tokenizer, as an engine may use the original in another thread."""
        template = getattr(tokenizer, "chat_template", None)
        if not template:
            raise ConfigError(
                f"{model} has no chat template; use an instruction-tuned model, "
                "or a directory whose tokenizer has one"
            )
        self._arguments = dict(arguments or {})
        words = set(re.findall(r"\w+", str(template)))
        for name in self._arguments:  # jinja passes over what a template does not name
            if name not in words:
                near = difflib.get_close_matches(name, words, 1)
                raise ConfigError(
                    f"{model}: chat_template_kwargs: the template has no use for {name!r}"
                    f"{did_you_mean(name, near)}"
                )
        self._tokenizer = copy.deepcopy(tokenizer)
        self._lock = threading.Lock()
        self._control = control_tokens(tokenizer)
        anywhere = "|".join(map(re.escape, self._control))
        # The first character of each, overlapping ones included: cut behind it, none is left.
        self._begins = re.compile(f"(?=(?:{anywhere}))(.)", re.S)
        self._choices: dict[tuple[str, ...], list[list[int]]] = {(): []}

    def prompt(self, messages: Sequence[Message], *, closed: bool = False) -> list[int]:
        """Return the conversation's token ids; a last assistant turn is left open.

        With `closed` nothing is to follow: that is how a reward model reads an answer. Raises
        ValueError where the template does not take these messages.
        """
        going_on = not closed and bool(messages) and messages[-1]["role"] == "assistant"
        turns, mark = self._cut(messages)
        with self._lock:
            return self._encode(self._render(turns, going_on, not (going_on or closed)), mark)

    def before_user(self, messages: Sequence[Message]) -> list[int]:
        """Return the conversation's token ids up to where the user's next message begins.

        Raises ValueError where the template does not take these messages.
        """
        turns, mark = self._cut(messages)
        with self._lock:
            text = self._render([*turns, {"role": "user", "content": "."}], True, False)
            return self._encode(text.removesuffix("."), mark)

    def text(self, text: str) -> list[int]:
        """Return the token ids of a text that belongs to a message, such as its answer."""
        (turn,), mark = self._cut([{"content": text}])
        with self._lock:
            return self._encode(turn["content"], mark)

    def choices(self, choices: tuple[str, ...]) -> list[list[int]]:
        """Return each choice's single-token spellings: as it is, and after a space.

        Raises ValueError for a choice that is no single token, or shares one with another.
        """
        if choices in self._choices:
            return self._choices[choices]
        groups = []
        for choice in choices:
            found = [self.text(text) for text in (choice, f" {choice.strip()}")]
            group = sorted({ids[0] for ids in found if len(ids) == 1})
            if not group:
                raise ValueError(f"choice {choice!r} is not a single token of this model")
            groups.append(group)
        if len(set(chain(*groups))) < sum(map(len, groups)):
            raise ValueError(f"the choices {list(choices)} share a token")
        self._choices[choices] = groups
        return groups

    def _render(self, turns: Sequence[Message], going_on: bool, ask: bool) -> str:
        """Return the template's text; the last turn is left open, or the assistant's is begun."""
        import jinja2

        try:
            text = str(
                self._tokenizer.apply_chat_template(
                    list(turns),
                    tokenize=False,
                    add_generation_prompt=ask,
                    continue_final_message=going_on,
                    **self._arguments,
                )
            )
        except (TypeError, jinja2.TemplateError) as error:
            raise ValueError(f"{type(error).__name__}: {error}") from error
        size = sum(len(value or "") for turn in turns for value in turn.values())
        if len(text) > _MOST_ADDED + _MOST_TIMES * size:
            raise ValueError(f"the chat template makes {len(text)} characters of {size}")
        return text

    def _cut(self, messages: Sequence[Message]) -> tuple[list[Message], str]:
        """Return the messages with a mark inside every control token, and the mark ("": none)."""
        texts = [text for message in messages for text in message.values() if text]
        if not any(token in text for text in texts for token in self._control):
            return list(messages), ""
        held = set().union(*texts)
        mark = next((chr(c) for c in _MARKS if chr(c) not in held), None)
        if mark is None:
            raise ValueError("the messages hold every private character there is")
        cut = [
            {k: self._begins.sub(rf"\1{mark}", v) if v else v for k, v in message.items()}
            for message in messages
        ]
        return cut, mark

    def _encode(self, text: str, mark: str) -> list[int]:
        pieces = text.split(mark) if mark else [text]
        ids = (self._tokenizer(p, add_special_tokens=False)["input_ids"] for p in pieces if p)
        return list(chain.from_iterable(ids))


def control_tokens(tokenizer: Any) -> tuple[str, ...]:
    """Return the texts that a tokenizer reads as control tokens, sorted.

    These are its special tokens, which are left out when an answer is decoded: so no answer of
    a model can have held one. Tokens that are decoded (`<think>`, say) stay as they are.
    """
    added = getattr(tokenizer, "added_tokens_decoder", {}).values()
    names = {token.content for token in added if token.special}
    names.update(getattr(tokenizer, "all_special_tokens", ()))
    return tuple(sorted(name for name in names if len(name) > 1))
