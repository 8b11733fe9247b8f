"""A scripted engine that lives in a child process and, the first `deaths` times, kills it.

It may ask its process to exit, too, and have a process of its own beside it, as vLLM has.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from curate.component import Runtime
from curate.engines.contract import Completions, Requests
from curate.engines.scripted import Scripted, ScriptedEngine


class Crashing(Scripted):
    isolated = True

    folder: Runtime[str]
    deaths: Runtime[int] = 0
    wait_s: Runtime[float] = 0.0
    exits: Runtime[bool] = False
    helper: Runtime[bool] = False

    def load(self) -> ScriptedEngine:
        if self.helper:
            pid = subprocess.Popen(["sleep", "600"]).pid
            (Path(self.folder) / f"pid-{pid}").touch()
        (Path(self.folder) / f"pid-{os.getpid()}").touch()
        return CrashingEngine(self)


class CrashingEngine(ScriptedEngine):
    def __init__(self, spec: Crashing) -> None:
        super().__init__(spec)
        self.spec = spec

    def chat(self, requests: Requests) -> Completions:
        folder = Path(self.spec.folder)
        time.sleep(self.spec.wait_s)
        if self.spec.exits:
            sys.exit("the engine has had enough")
        for number in range(self.spec.deaths):
            try:
                (folder / f"death-{number}").touch(exist_ok=False)
            except FileExistsError:
                continue
            print("the last words of the engine", file=sys.stderr, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        return super().chat(requests)
