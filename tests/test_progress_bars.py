"""Bars in a terminal: what stands on the screen at the end, and what moved until then."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest


def screen(raw: str, width: int) -> list[str]:
    """Play what a program wrote to a terminal; return the lines as they stand at the end."""
    lines, row, column = [""], 0, 0
    for piece in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|[\r\n]|[^\x1b\r\n]", raw):
        if piece == "\n":
            row, column = row + 1, 0
            lines += [""] * (row + 1 - len(lines))
        elif piece == "\r":
            column = 0
        elif re.fullmatch(r"\x1b\[\d*A", piece):
            row -= int(piece[2:-1] or 1)
            assert row >= 0
        elif piece == "\x1b[2K":
            lines[row] = ""
        elif not piece.startswith("\x1b"):
            lines[row] = lines[row].ljust(column)[:column] + piece + lines[row][column + 1 :]
            column += 1
            assert column < width or "━" not in lines[row], f"a bar wraps: {lines[row]!r}"
    return [line.rstrip() for line in lines if line.strip()]


def in_a_terminal(command: list[str], width: int) -> tuple[list[str], str]:
    """Run a command in a terminal of this width; return its screen at the end, and all it wrote."""
    outer, inner = pty.openpty()
    fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    with subprocess.Popen(
        [sys.executable, "-m", "curate", *command], stdin=inner, stdout=inner, stderr=inner,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "", "LINES": ""},
    ) as process:  # fmt: skip
        os.close(inner)
        raw = b""
        with contextlib.suppress(OSError):  # Linux says so at the end
            while piece := os.read(outer, 65536):
                raw += piece
        assert process.wait() == 0, raw.decode()
    os.close(outer)
    return screen(raw.decode(), width), raw.decode()


@pytest.mark.parametrize("width", [60, 80, 110])
def test_bars_in_a_terminal_under_two_workers(
    scripted_pipeline: Path, tmp_path: Path, width: int
) -> None:
    judges = "  - judge: {engine: small}\n  - judge: {engine: small, name: other}\n  - combine\n"
    text = scripted_pipeline.read_text().replace("  - combine\n", judges)
    text = text.replace("  - likelihood: {engine: small}\n", "")  # one more that is waited for
    scripted_pipeline.write_text(text)
    slow = ("--set", "engines.small.delay_s=0.7", "--workers", "2", "--root", str(tmp_path))
    command = ["run", str(scripted_pipeline), *slow, "--until", "combine"]
    lines, raw = in_a_terminal(command, width)
    bars = {line.split("  ")[0].split(" ━")[0].strip(): line for line in lines if "━" in line}
    assert {"generate", "judge", "judge 2"} <= set(bars)
    for name in ("generate", "judge", "judge 2"):
        assert re.search(r" 59/59 +\d:\d\d:\d\d", bars[name]), bars[name]
        assert "tokens/s" in bars[name]
    assert re.search(r"\d:\d\d:\d\d left", raw)
    assert sum(line.startswith("judge 2 ") for line in lines) == 1
    again, _ = in_a_terminal(command, width)
    assert re.search(r"^generate +━+ +59/59 .* done before$", "\n".join(again), re.M)


def test_a_bar_moves_within_one_long_shard(scripted_pipeline: Path, tmp_path: Path) -> None:
    slow = ("--set", "engines.small.delay_s=4", "--set", "source.shard_rows=64")
    lines, raw = in_a_terminal(
        ["run", str(scripted_pipeline), *slow, "--until", "generate", "--root", str(tmp_path)], 110
    )
    (bar,) = [line for line in lines if line.startswith("generate ")]
    assert re.search(r" 59/59 +\d:\d\d:\d\d", bar)
    assert "calls" not in bar
    seen = re.findall(r" (\d+)/59 .*?\d:\d\d:\d\d left, .*? tokens/s, (\d+) of 177 calls", raw)
    assert len({calls for _, calls in seen}) >= 2
    assert {rows for rows, _ in seen} == {"0"}
