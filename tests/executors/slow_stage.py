"""A stage without engines that takes a while, and says which process does it."""

import os
import time
from pathlib import Path

from curate.component import Runtime
from curate.stage import Stage


class Slow(Stage):
    needs = ("id",)
    folder: Runtime[str]

    def apply(self, view, ctx):
        mark = Path(self.folder, str(os.getpid()))
        mark.touch()
        time.sleep(0.5)
        mark.unlink()
        return {}
