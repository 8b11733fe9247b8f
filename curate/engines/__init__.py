"""Engines: how stages reach language models. Importing this package registers the built-in ones."""

from curate.engines.openai import OpenAI
from curate.engines.scripted import Scripted
from curate.engines.vllm import VLLM

__all__ = ["VLLM", "OpenAI", "Scripted"]
