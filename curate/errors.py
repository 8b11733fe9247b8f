"""Errors a user can act on: each says what is wrong, where, and what to do.

The command line prints these as one line and exits with `exit_code`. A traceback is for
bugs; with CURATE_DEBUG=1 in the environment these have one too.
"""

from __future__ import annotations

import difflib
import errno
import importlib.util
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from curate.lookout import doing

INTERNAL = 70  # the exit code of a bug (EX_SOFTWARE of sysexits.h); 1 is a check that failed


class CurateError(Exception):
    """Anything that stops a run for a reason the user can act on."""

    exit_code = 1


class ConfigError(CurateError):
    """The pipeline, a flag or a name is wrong; nothing has run."""

    exit_code = 2


class InputError(CurateError):
    """The source's data is malformed; the message names file, row and column."""

    exit_code = 2


class RepeatedId(InputError):
    """Two rows of the source that differ have one id, which is `row_id` where it is known."""

    def __init__(self, message: str, row_id: str | None = None) -> None:
        super().__init__(message)
        self.row_id = row_id


class MissingExtra(ConfigError):
    """A dependency that belongs to an optional extra is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"{package} is not installed; "
            f"install it with: pip install 'curate-preferences[{extra}]'"
        )


@contextmanager
def importing(module: str, extra: str, package: str = "") -> Iterator[None]:
    """Say what it means where a module of an extra cannot be imported within.

    `package` is what `module` is installed as. Raises MissingExtra for what is not installed, the
    module or what it needs, and ConfigError, which says why, for what is there and broken.
    """
    try:
        yield
    except Exception as error:
        if out_of_memory(error):
            raise
        absent = error.name if isinstance(error, ModuleNotFoundError) else None
        if absent == module:
            raise MissingExtra(package or module, extra) from None
        if absent and "." not in absent and not installed(absent):
            raise MissingExtra(f"{absent}, which {package or module} needs,", extra) from None
        said = " ".join(f"{type(error).__name__}: {error}".split())
        raise ConfigError(
            f"{package or module} is installed and cannot be imported ({said}); install it again: "
            f"pip install --force-reinstall 'curate-preferences[{extra}]'"
        ) from error


def installed(package: str) -> bool:
    """Whether a package can be found; it is not imported."""
    return package in sys.modules or importlib.util.find_spec(package) is not None


class StageError(CurateError):
    """A stage could not do its work on a shard; what was committed stays, a rerun resumes."""

    exit_code = 3


class OutOfMemory(StageError):
    """The machine gave no more memory, or no more threads."""


class StoreError(CurateError):
    """The store could not be read or written (disk full, permissions, damage)."""

    exit_code = 3


class LockHeld(CurateError):
    """Another run holds this run's lock."""

    exit_code = 75


class AccountingError(CurateError):
    """Rows in do not equal exported + dropped + failed: a bug, never papered over."""

    exit_code = 1


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `"; did you mean 'x'?"` for the closest known name, or the list of known names."""
    options = sorted(known)
    close = difflib.get_close_matches(name, options, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known: {', '.join(options)}" if options else ""


REFUSALS = (
    "can't start new thread", "could not spawn thread", "allocate memory", "bad_alloc",
    "failed to map segment", "os error 12", "out of memory",
)  # fmt: skip
"""How libraries say, in errors of all kinds, that there is no memory or no thread to be had."""


def out_of_memory(error: BaseException) -> bool:
    """Whether the error says that the machine gave no memory, or no thread."""
    if isinstance(error, CurateError):
        return False
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return True
    return any(refusal in str(error) for refusal in REFUSALS)


@contextmanager
def enough_memory(what: str) -> Iterator[None]:
    """Raise OutOfMemory, with `what` took it and what to do, where memory or threads run out."""
    doing(what)
    try:
        yield
    except BaseException as error:  # polars' own is no Exception
        if not out_of_memory(error):
            raise
        raise OutOfMemory(no_memory(what, error)) from error


def no_memory(what: str, error: BaseException) -> str:
    """Return in one line what ran out of memory, and what to do."""
    first = str(error).strip().partition("\n")[0] or type(error).__name__
    return (
        f"{what} ran out of memory ({first}); run the same command again with fewer --workers or "
        "on a machine with more memory"
    )
