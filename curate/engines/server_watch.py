"""What becomes of all calls to one server: what is tried again, and when to stop asking."""

from __future__ import annotations

import asyncio
import email.utils
import math
import time
from collections.abc import Callable

LONGEST_WAIT_S = 300.0  # a server may ask for more; a run should rather stop and be resumed
TELL_EVERY_S = 10.0  # between words about retries
SILENCE_S = 60.0  # without an answer before that is told, and told again


class PassingError(Exception):
    """Trouble that another try may not meet; `wait_s` is what the server asked for."""

    def __init__(self, text: str, wait_s: float | None = None, unreachable: bool = False) -> None:
        super().__init__(text)
        self.wait_s = wait_s
        self.unreachable = unreachable


class ServerWatch:
    """Counts, for all calls in flight; used in the event loop's thread alone.

    `failed_in_a_row` are calls whose every try failed since the last answer to any call.
    """

    def __init__(self, where: str) -> None:
        self._where = where
        self._told, self._tried_again = -math.inf, 0
        self._heard, self._due = time.monotonic(), SILENCE_S
        self._waiting = 0
        self.tell: Callable[[str], None] = lambda why: None
        self.answers = 0
        self.failed_in_a_row = 0

    def asked(self) -> None:
        """A call begins to wait for its answer."""
        if not self._waiting:
            self._hear()  # nobody waited before
        self._waiting += 1

    def ended(self) -> None:
        """A call waits no longer."""
        self._waiting -= 1

    def answered(self) -> None:
        """The server answered, if with a refusal: it is there and works."""
        self.answers += 1
        self.failed_in_a_row = 0
        self._hear()

    def failed(self) -> None:
        """Every try of a call failed."""
        self.failed_in_a_row += 1

    def tried_again(self, why: str) -> None:
        """A call is sent once more; that is told at once, and then now and then."""
        self._tried_again += 1
        if time.monotonic() - self._told >= TELL_EVERY_S:
            self._told = time.monotonic()
            tries = "1 try" if self._tried_again == 1 else f"{self._tried_again:,} tries"
            self.tell(f"{self._where}: {tries} failed so far; last: {why}")

    async def watch_silence(self) -> None:
        """Tell where calls wait and nothing comes, for as long as that lasts."""
        while True:
            await asyncio.sleep(SILENCE_S / 4)
            silent = time.monotonic() - self._heard
            if self._waiting and silent >= self._due:
                self._due = silent + SILENCE_S
                self.tell(
                    f"{self._where}: no answer for {silent:.0f} s; {self._waiting} calls wait"
                )

    def _hear(self) -> None:
        self._heard, self._due = time.monotonic(), SILENCE_S


def wait_before_retry(error: Exception) -> bool | float:
    """Return how long to wait, True for as long as retries do, False to give up."""
    if not isinstance(error, PassingError):
        return False
    return True if error.wait_s is None else error.wait_s


def retry_after(header: str | None) -> float | None:
    """Return how long the header asks to wait, in seconds or until a date; None for neither."""
    try:
        seconds = float(header or "")
    except ValueError:
        try:
            until = email.utils.parsedate_to_datetime(header or "")
            seconds = until.timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
    return min(max(seconds, 0.0), LONGEST_WAIT_S) if math.isfinite(seconds) else None
