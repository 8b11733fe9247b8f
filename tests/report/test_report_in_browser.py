"""The report as a browser shows it: light, dark, printed, narrow, and by keyboard.

Needs Chromium (on PATH, or named by CHROME) and Pillow. Set KEEP_SCREENSHOTS to a folder to look at
the pictures.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from curate.executors import Local
from curate.loop import run
from curate.pipeline import Pipeline
from curate.report import report

pytest.importorskip("vl_convert", reason="needs the extra `report`")
Image = pytest.importorskip("PIL.Image", reason="needs Pillow to read screenshots")
from chromium import Browser  # noqa: E402

LONG = "an-unbroken-name-" * 12
PIPELINE = """
name: NAME
source: {jsonl: {path: PATH, shard_rows: 50, columns: {id: id, prompt: prompt}}}
engines:
  a: {scripted: {model: "org/model-a", replies: REPLIES}}
  b: {scripted: {model: "LONG", replies: REPLIES}}
  j: {scripted: {model: "org/model-a", replies: ["Yes.\\nScore: 5", "No.\\nScore: 3", "[[A]]"]}}
stages:
  - exact_dedup
  - generate: {engine: [a, b], n: 2}
  - judge: {engine: j}
  - judge: {engine: b, score: expected, name: odds}
  - judge_pairs: {engine: j}
  - combine: {weights: {"j:helpfulness": 1.0, odds: 1.0}}
  - best_worst
  - margin: {at_least: 0.2}
  - embed
  - embed: {on: candidates, to: answer_vectors}
export: null
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a run that has nearly everything a page shows, in one file."""
    root = tmp_path_factory.mktemp("shown")
    path = root / "rows.jsonl"
    rows = [
        {
            "id": f"{LONG}{i}" if i < 3 else f"r{i}",
            "prompt": f"Question {i % 180}? {LONG if i % 9 == 0 else ''}",
        }
        for i in range(200)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    replies = [f"Answer {k}. " + "It depends on the wind. " * (k % 7) for k in range(16)]
    text = PIPELINE.replace("PATH", str(path)).replace("REPLIES", json.dumps(replies))
    text = text.replace("LONG", LONG)
    for name in ("one", "two"):
        run(Pipeline.loads(text.replace("NAME", name)), root, executor=Local(workers=2))
    made = root / "report.html"
    made.write_text(report(root, "one", "two"), encoding="utf-8")
    return made


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory, page: Path) -> Iterator[Browser]:
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
    path = os.environ.get("CHROME") or next(filter(None, map(shutil.which, names)), None)
    if path is None or os.name == "nt":
        pytest.skip("no Chromium on PATH, and CHROME names none")
    try:
        made = Browser(path, tmp_path_factory.mktemp("profile"))
    except (EOFError, OSError, AssertionError) as error:
        pytest.skip(f"{path} does not run headless here: {error}")
    made.open(page)
    yield made
    made.close()


def keep(name: str, picture: np.ndarray) -> None:
    if folder := os.environ.get("KEEP_SCREENSHOTS"):
        Image.fromarray(picture).save(Path(folder) / f"{name}.png")


def contrast(one: tuple[int, ...], two: tuple[int, ...]) -> float:
    """Return the contrast of two colours as WCAG 2 defines it."""
    levels = []
    for colour in (one, two):
        channels = np.array(colour[:3]) / 255.0
        linear = np.where(
            channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4
        )
        levels.append(float(linear @ [0.2126, 0.7152, 0.0722]))
    return (max(levels) + 0.05) / (min(levels) + 0.05)


def test_nothing_is_loaded_and_nothing_goes_wrong(browser: Browser, page: Path) -> None:
    browser.open(page)
    asked = [
        event["params"]["request"]["url"]
        for event in browser.events
        if event.get("method") == "Network.requestWillBeSent"
    ]
    assert asked == [page.as_uri()]
    wrong = ("Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled")
    assert [event for event in browser.events if event.get("method") in wrong] == []
    assert browser.value("document.scripts.length") == 0


@pytest.mark.parametrize(
    ("name", "width", "scheme", "media"),
    [
        ("light", 1200, "light", "screen"),
        ("dark", 1200, "dark", "screen"),
        ("narrow", 360, "light", "screen"),
        ("print", 800, "dark", "print"),
    ],
)
def test_every_view_has_its_charts_and_stays_within_its_width(
    browser: Browser, name: str, width: int, scheme: str, media: str
) -> None:
    picture = browser.show(width, scheme, media)
    keep(name, picture)
    assert picture.shape[1] == width
    background = tuple(int(c) for c in picture[5, 5])
    assert (sum(background) < 200) == (name == "dark")  # paper is white, whatever the screen is
    drawn = (picture != np.array(background, dtype=np.uint8)).any(axis=2)
    assert 0.01 < drawn.mean() < 0.9
    assert browser.value("document.documentElement.scrollWidth") <= width
    charts = browser.value(
        "[...document.querySelectorAll('svg[role=img]')].map(s => {const b = "
        "s.getBoundingClientRect(); return [b.x + scrollX, b.y + scrollY, b.width, b.height]})"
    )
    assert len(charts) >= 5
    for x, y, wide, high in charts:
        assert wide > 100
        assert high > 30
        assert x + wide <= width
        inside = drawn[int(y) : int(y + high), int(x) : int(x + wide)]
        assert inside.any()


def test_on_a_phone_the_reasons_are_in_sight(browser: Browser) -> None:
    browser.show(360, "light")
    hidden = browser.value(
        "[...document.querySelectorAll('.stack td')].filter(e => e.textContent.trim() && "
        "(e.getBoundingClientRect().right > 360 || !e.checkVisibility())).length"
    )
    assert hidden == 0
    wide = "[...document.querySelectorAll('.wide')].filter(e => e.scrollWidth > e.clientWidth)"
    assert browser.value(f"{wide}.length") > 0
    shade = browser.value(f"getComputedStyle({wide}[0]).backgroundImage")
    assert shade.count("linear-gradient") == 4  # the cue that there is more on either side


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read(browser: Browser, scheme: str) -> None:
    browser.show(1200, scheme)
    colours = browser.value(
        "[...document.querySelectorAll('p, th, td, h1, h2, h4, a, figcaption, summary, pre')]"
        ".map(e => {let b = e; while (getComputedStyle(b).backgroundColor == 'rgba(0, 0, 0, 0)') "
        "b = b.parentElement; return [getComputedStyle(e).color, "
        "getComputedStyle(b).backgroundColor]}).map(JSON.stringify)"
    )
    for pair in map(json.loads, set(colours)):
        one, two = (tuple(map(int, c[c.index("(") + 1 : -1].split(",")[:3])) for c in pair)
        assert contrast(one, two) >= 4.5, pair  # WCAG 2, level AA


def test_all_is_reached_by_keyboard(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.show(360, "light")
    reached = []
    for _ in range(400):
        browser.press("Tab", 9)
        here = browser.value(
            "(() => {const e = document.activeElement; if (e === document.body) return null; "
            "const s = getComputedStyle(e); return [e.tagName, e.getAttribute('href') || "
            "e.textContent.slice(0, 40), s.outlineStyle, "
            "[...document.querySelectorAll('*')].indexOf(e)]})()"
        )
        if here is None or here[3] in [r[3] for r in reached]:
            break
        reached.append(here)
    assert all(outline != "none" for _, _, outline, _ in reached), reached
    links = {text for tag, text, _, _ in reached if tag == "A"}
    assert links == set(browser.value("[...document.links].map(a => a.getAttribute('href'))"))
    clipped = browser.value(
        "[...document.querySelectorAll('*')].filter(e => ['auto', 'scroll'].includes("
        "getComputedStyle(e).overflowX) && e.scrollWidth > e.clientWidth + 1 && e.tabIndex < 0)"
        ".length"
    )
    assert clipped == 0  # what scrolls can be scrolled with the arrow keys
    closed = browser.value("document.querySelectorAll('details:not([open])').length")
    browser.value("document.querySelector('details:not([open]) summary').focus()")
    browser.press("Enter", 13)
    deadline = time.monotonic() + 60
    while browser.value("document.querySelectorAll('details:not([open])').length") == closed:
        assert time.monotonic() < deadline, "Enter opened nothing"


def test_a_printed_page_shows_all_pairs(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.show(800, "light", "print")
    # What lies under `content-visibility: hidden` has rectangles and is not painted all the same.
    shown = "a => a.checkVisibility({contentVisibilityAuto: true, visibilityProperty: true})"
    articles = "[...document.querySelectorAll('article')]"
    closed = browser.value("document.querySelectorAll('details:not([open]) article').length")
    assert closed >= 20
    assert browser.value(f"{articles}.filter(a => !({shown})(a)).length") == 0
    browser.show(800, "light")
    assert browser.value(f"{articles}.filter(a => !({shown})(a)).length") == closed
    browser.show(800, "light", "print")
    paper = browser.send("Page.printToPDF")["data"]
    assert base64.b64decode(paper)[:5] == b"%PDF-"
