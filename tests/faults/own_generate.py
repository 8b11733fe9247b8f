"""A user's own stage with a short name, which only this module registers."""

from __future__ import annotations

from curate.stages.generate import Generate


class Mine(Generate, name="generate_of_mine"):
    """As `generate`."""
