"""Models of the library `transformers`: no bars of its own, and word of each batch instead."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from curate.meter import Told

_OUTPUTS = ("sentence_embedding", "scores", "logits")  # of modules: one a text or pair of texts


@contextmanager
def without_bars() -> Iterator[None]:
    """Keep the library `transformers` from drawing progress bars meanwhile."""
    from transformers.utils import logging

    drawn = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if drawn:
            logging.enable_progress_bar()


@contextmanager
def each_batch(module: Any, count: int, told: Told) -> Iterator[None]:
    """Tell, as a library puts `count` inputs through a torch module, of each batch's size.

    The library may lay inputs end to end: of more than `count` nothing is told, and at the end of
    all.
    """
    left = count

    def hear(module: Any, given: Any, made: Mapping[str, Any]) -> None:
        nonlocal left
        found = next((made[name] for name in _OUTPUTS if name in made), ())
        size = min(len(found), left)
        left -= size
        told(size)

    hook = module.register_forward_hook(hear)
    try:
        yield
    finally:
        hook.remove()
    told(left)
