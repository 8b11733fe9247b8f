"""`near_dedup` with pieces that take a while and say which process does them."""

import os
import time
from pathlib import Path

from curate.component import Runtime
from curate.stages.dedup import NearDedup
from curate.stages.dedup_division import NearCopies


class SlowDedup(NearDedup):
    folder: Runtime[str]

    def division(self):
        made = SlowCopies(self)
        object.__setattr__(made, "folder", Path(self.folder))
        return made


class SlowCopies(NearCopies):
    def work(self, piece, view, space):
        (self.folder / f"{piece.step}-{piece.number}-{os.getpid()}").touch()
        time.sleep(0.2)
        super().work(piece, view, space)
