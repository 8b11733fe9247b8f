"""Runs inside the sandbox: a solution, then its tests, then the verdict on descriptor 3.

Only text to the rest of the package: the launcher starts it in a fresh interpreter, which finds
the task in the working directory. The verdict is read only if it begins with the task's token, so
a solution that ends the process before its tests have run has not passed. Nothing here can stop
a solution that looks for the token in its own process; see `curate.sandbox`.
"""

import builtins
import os
import random
import sys
import types


class Stubs(dict[str, object]):
    """Names to functions that take anything and return None, but for the builtins."""

    def __missing__(self, name: str) -> object:
        """Return the stub. Raises KeyError for a builtin, which Python then finds itself."""
        if hasattr(builtins, name):
            raise KeyError(name)
        return lambda *given, **named: None


def taken(name: str) -> str | None:
    """Read and remove a file of the working directory; None where it is not there."""
    if not os.path.exists(name):  # noqa: PTH110 - os alone, as each import costs milliseconds
        return None
    with open(name, "rb") as file:  # noqa: PTH123
        text = file.read().decode("utf-8", "surrogatepass")
    os.unlink(name)  # noqa: PTH108
    return text


def main() -> None:
    """Run the task, write `token verdict`, and leave at once, whatever threads are left."""
    code, tests, token = (taken(name) for name in ("code", "tests", "token"))
    random.seed(0)
    solution = types.ModuleType("solution")
    sys.modules["solution"] = solution
    names: dict[str, object] = solution.__dict__
    if code is None:
        names = Stubs(solution.__dict__)
        solution.__dict__["__getattr__"] = names.__missing__
    try:
        if code is not None:
            exec(compile(code, "solution.py", "exec"), names)  # noqa: S102
        exec(compile(tests or "", "tests.py", "exec"), names)  # noqa: S102
        said = "passed"
    except BaseException as error:
        said = f"failed {type(error).__name__}"
    os.write(3, f"{token} {said}".encode("ascii", "replace"))
    os._exit(0)


if __name__ == "__main__":
    main()
