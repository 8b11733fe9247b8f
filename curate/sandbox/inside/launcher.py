"""What starts a program: `python -m inside.launcher < order.json > report.json`.

A process of its own, so that nothing of curate's (memory, open files, threads) is there to
inherit. The report is {"refused": why}, {"timeout": true} or {"verdict", "signal", "cpu"}.
"""

from __future__ import annotations

import json
import signal
import sys

from .calls import PDEATHSIG, Refused, prctl
from .rooms import in_namespaces, on_the_machine


def main() -> None:
    """Read the order, run it, print the report."""
    # The first process of a namespace gets from inside only the signals that it handles.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        prctl(PDEATHSIG, signal.SIGKILL, "death signal")
        order = json.load(sys.stdin)
        rooms = {"namespaces": in_namespaces, "machine": on_the_machine}
        said = rooms[order["isolation"]](order)
    except Refused as error:
        said = {"refused": str(error)}
    print(json.dumps(said))


if __name__ == "__main__":
    main()
