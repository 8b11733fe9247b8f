"""A process that has imported everything and forks one run after another: imports cost seconds.

Reads JSON lines {"arguments", "cwd", "fault", "log"} and answers {"pid"}; {"wait": pid} is
answered with {"code"}, as subprocess gives it. Each run leads a process group of its own.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import resource
import sys
import threading
from pathlib import Path

import datasets  # noqa: F401
import faiss  # noqa: F401
import polars  # noqa: F401
import sentence_transformers  # noqa: F401
from faults import Faults, write_steps

import curate
from curate import cli

for module in pkgutil.walk_packages(curate.__path__, "curate."):
    if not module.name.endswith("__main__"):  # a command imports what it uses: each run would anew
        importlib.import_module(module.name)


def child(request: dict[str, object]) -> None:
    os.setpgid(0, 0)
    log = os.open(str(request["log"]), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    if request.get("file_size"):
        size = int(str(request["file_size"]))
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    if request.get("open_files"):
        most = int(str(request["open_files"]))
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if request.get("memory"):
        has = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        size = has + int(str(request["memory"]))
        resource.setrlimit(resource.RLIMIT_AS, (size, size))
    os.chdir(str(request["cwd"]))
    sys.argv = ["curate", *request["arguments"]]
    faults = Faults(**request["fault"]) if request.get("fault") else None
    if faults is not None:
        faults.install()
    code = 0
    try:
        cli.main()
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        import traceback

        traceback.print_exc()
        code = 99
    sys.stdout.flush()
    sys.stderr.flush()
    if faults is not None:
        write_steps(faults, str(request["log"]) + ".steps")
    os._exit(code)


def main() -> None:
    assert threading.active_count() == 1, "a fork would lose threads"
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            _, status = os.waitpid(request["wait"], 0)
            answer = {"code": os.waitstatus_to_exitcode(status)}
        else:
            pid = os.fork()
            if not pid:
                child(request)
            answer = {"pid": pid}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
