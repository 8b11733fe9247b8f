"""Engines: how stages reach language models."""
