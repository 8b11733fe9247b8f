"""Which portion of a pipeline's work a run does: all of it, the first rows, or one share."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from curate.errors import ConfigError
from curate.work import Shard


@dataclass(frozen=True)
class Portion:
    """The first `limit` rows of the source, or share `number` of `of` (from 1) of the shards.

    A portion has a run folder of its own and shares the store, so what it commits is there for
    the whole run. A share is for arrays of jobs: it does what can be done shard by shard, and
    stops before the first stage after that which needs all shards; the whole run finishes.
    """

    limit: int | None = None
    number: int = 1
    of: int = 1

    def __post_init__(self) -> None:
        """Refuse portions that do not exist."""
        if self.limit is not None and self.limit < 1:
            raise ConfigError(f"--limit {self.limit}: a run has at least one row")
        if not 1 <= self.number <= self.of:
            raise ConfigError(f"--shard {self.number}/{self.of}: write 1/8 to 8/8 for eight shares")

    @classmethod
    def parse(cls, limit: int | None = None, share: str = "") -> Portion:
        """Read `--limit` and `--shard i/n`. Raises ConfigError."""
        if not share:
            return cls(limit)
        found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", share)
        if found is None:
            raise ConfigError(f"--shard {share!r}: write i/n, such as 3/8")
        return cls(limit, int(found[1]), int(found[2]))

    def folder(self, name: str) -> str:
        """Return the name of the run's folder for the pipeline called `name`."""
        limited = "" if self.limit is None else f"-first-{self.limit}"
        return name + limited + (f"-shard-{self.number}-of-{self.of}" if self.of > 1 else "")

    @staticmethod
    def is_share(folder: str) -> bool:
        """Whether a run's folder of this name is that of a share."""
        return re.search(r"-shard-\d+-of-\d+$", folder) is not None

    def mine(self, shards: Sequence[Shard]) -> list[Shard]:
        """Return the shards of this share, spread evenly over the source."""
        return [shard for shard in shards if shard.index % self.of == self.number - 1]


WHOLE = Portion()
