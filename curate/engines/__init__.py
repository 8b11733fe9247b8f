"""Engines: how stages reach language models, one in each module of its name."""
