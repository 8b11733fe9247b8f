"""Numbers as a page writes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def share(found: Mapping[str, float] | None) -> str:
    """Return a share with its interval, from {share, low, high}; a dash for None."""
    if not found:
        return "-"
    return f"{found['share']:.1%} [{found['low']:.1%}, {found['high']:.1%}]"


def percent(value: float | None) -> str:
    """Return a share as a percentage; a dash for None."""
    return "-" if value is None else f"{value:.1%}"


def points(found: Mapping[str, float] | None) -> str:
    """Return a difference of shares in percentage points, with a star where it leaves out 0."""
    if not found:
        return "not measurable: no other judge"
    value, low, high = (100 * found[name] for name in ("value", "low", "high"))
    return f"{value:+.1f} [{low:+.1f}, {high:+.1f}]{' *' if low > 0 or high < 0 else ''}"


def number(value: Any) -> str:
    """Return a whole number with separators, anything else as it is."""
    return f"{value:,}" if isinstance(value, int) else str(value)


def short(value: float | None) -> str:
    """Return a number with three digits, or whole from 1,000 on; a dash for None."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def two_digits(value: float | None) -> str:
    """Return a number with two decimals, never -0.00; a dash for None."""
    return "-" if value is None else f"{round(value, 2) + 0.0:.2f}"


def dollars(value: float | None) -> str:
    """Return an amount of money; nothing for None."""
    if value is None:
        return ""
    return f"${value:,.2f}" if value >= 0.01 else "under $0.01"
