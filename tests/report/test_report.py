import json
from html.parser import HTMLParser

import numpy as np
import pyarrow as pa
import pytest

from curate.errors import ConfigError
from curate.executors import Local
from curate.loop import run
from curate.methods.order import leaning
from curate.pipeline import Pipeline
from curate.report import gather, report, selections
from curate.report.duels import Duels
from curate.report.figures import Figures, Spread
from curate.report.prompt_map import cells, projected
from curate.report.steps import _about
from curate.schema import CANDIDATES, JUDGMENTS, PAIRS

pytest.importorskip("vl_convert", reason="needs the extra `report`")

HOSTILE = '<script>alert(1)</script></pre>\u202e{{ 7*7 }} & "quoted"'
PIPELINE = """
name: NAME
source: {jsonl: {path: PATH, shard_rows: 7, columns: {id: id, prompt: prompt}}}
engines:
  a: {scripted: {model: "model-a"}}
  b: {scripted: {model: "<b>model-b</b>"}}
stages:
  - exact_dedup
  - generate: {engine: [a, b], n: 2}
  - judge: {engine: a, score: expected}
  - judge_pairs: {engine: a}
  - combine: {weights: {"a:helpfulness": 1.0}}
  - best_worst
  - margin: {at_least: LEAST}
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    made = tmp_path_factory.mktemp("runs")
    path = made / "prompts.jsonl"
    lines = [{"id": f"r{i}", "prompt": f"{HOSTILE} {i % 28}"} for i in range(30)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    for name, least in (("one", "0.1"), ("two", "1.0")):
        text = PIPELINE.replace("PATH", str(path)).replace("NAME", name).replace("LEAST", least)
        run(Pipeline.loads(text), made, executor=Local(workers=2))
    return made


class Reader(HTMLParser):
    """Collects tags, attributes and text."""

    def __init__(self):
        super().__init__()
        self.tags, self.attributes, self.text = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_data(self, data):
        self.text.append(data)


def read(page):
    reader = Reader()
    reader.feed(page)
    return reader


def test_the_page_is_alone_and_hostile_text_stays_text(root):
    reader = read(report(root, "one"))
    assert "script" not in reader.tags
    assert not [a for a in reader.attributes if a[1].startswith("on")]
    links = [value for tag, name, value in reader.attributes if name in ("src", "href")]
    assert links
    assert all(link.startswith("#") for link in links)
    text = "".join(reader.text)
    shown = HOSTILE.replace("\u202e", "[U+202E]")
    assert shown in text
    assert "\u202e" not in text
    assert "49" not in [t.strip() for t in reader.text]
    assert "<b>model-b</b>" in text


def test_the_funnel_and_the_sections_are_there(root):
    page = report(root, "one")
    text = "".join(read(page).text)
    assert "30 rows came in" in text
    assert "exact prompt duplicate" in text
    for section in ("funnel", "inside", "spreads", "judges", "models", "audit", "cost", "pairs"):
        assert f'<section id="{section}">' in page
    assert 'id="coverage"' not in page  # the run has no embeddings, so no empty map either
    assert page == report(root, "one")


def test_judges_are_looked_at_in_the_rows_that_are_left_and_the_page_says_so(root):
    facts = gather(root, "two")
    made, left = (facts["funnel"][place]["rows_out"] for place in (3, -1))
    assert left < made
    judgments = {row["judge"]: row["judgments"] for row in facts["summary"]["judges"]}
    assert judgments["a:helpfulness"] == 4 * left  # two answers of each engine
    judges = report(root, "two").partition('<section id="judges">')[2].partition("</section>")[0]
    assert "From the rows that are left" in judges


def test_selections_are_set_against_chance():
    counts = {
        f"radius_{part}_e4": n for n, part in enumerate(("value", "random", "low", "high"), 1)
    }
    steps = [{"stage": "diverse", "counts": counts | {"calls": 3, "broken_value_e4": 1}}]
    (row,) = selections(steps)
    assert (row["stage"], row["measure"], row["value"], row["high"]) == (
        "diverse", "radius", 0.0001, 0.0004,
    )  # fmt: skip


def test_every_link_within_the_page_leads_somewhere(root):
    reader = read(report(root, "one", against="two"))
    links = {value[1:] for tag, name, value in reader.attributes if name == "href"}
    places = {value for _, name, value in reader.attributes if name == "id"}
    assert links
    assert links <= places


def test_two_runs_are_compared(root):
    text = "".join(read(report(root, "one", against="two")).text)
    assert "compared with two" in text
    assert "Compared with two" in text
    with pytest.raises(ConfigError, match="no run 'three'"):
        report(root, "one", against="three")


def test_a_judge_that_always_takes_the_first_shows():
    rows = [
        {"judge": "j", "a": 0, "b": 1, "order": order, "score": score, "status": "ok"}
        for order, score in (("ab", 1.0), ("ba", -1.0))
    ]
    lost = {"judge": "j", "a": 0, "b": 1, "order": "ab", "score": None, "status": "parse_error"}
    figures = Figures()
    figures.add({"judgments": pa.array([[*rows], [lost]], JUDGMENTS)})
    (judge,) = figures.summary()["judges"]
    assert judge["statuses"] == {"ok": 2, "parse_error": 1}
    assert (judge["first"]["share"], judge["first"]["n"]) == (1.0, 2)
    assert (judge["consistent"]["share"], judge["consistent"]["n"]) == (0.0, 1)


def test_dropped_pairs_and_unknown_models_count_for_nothing():
    made = [{"text": "a" * n, "model": m, "drop": None} for n, m in ((5, "x"), (2, "y"), (9, None))]
    pairs = [
        {"chosen": 0, "rejected": 1, "margin": 1.0, "drop": None},
        {"chosen": 2, "rejected": 1, "margin": 2.0, "drop": None},
        {"chosen": 1, "rejected": 0, "margin": 9.0, "drop": "small"},
    ]
    figures = Figures()
    figures.add({"candidates": pa.array([made], CANDIDATES), "pairs": pa.array([pairs], PAIRS)})
    found = figures.summary()
    assert [(m["model"], m["share"]) for m in found["models"]] == [("x", 1.0), ("y", 0.0)]
    assert found["spreads"]["margin"]["mean"] == 1.5
    assert "p_correct" not in found["spreads"]
    assert found["longer"]["share"] == 1.0


def test_a_model_that_wins_by_length_alone_is_even_at_equal_length():
    rng = np.random.default_rng(0)
    longer = rng.normal(100, 300, 4000).astype(int)
    won = rng.random(4000) < 1 / (1 + np.exp(-np.tanh(longer / longer.std())))
    duels = Duels()
    for part in np.array_split(np.arange(4000), 3):  # the chosen answer first
        models = np.where(won[part], "windy", "short"), np.where(won[part], "short", "windy")
        sign = np.where(won[part], 1, -1)
        duels.add(*map(pa.array, models), longer[part] * sign)
    rows = {row["model"]: row for row in duels.rows()}
    assert list(rows) == ["windy", "short"]
    assert rows["windy"]["share"] == pytest.approx(won.mean())
    assert rows["windy"]["share"] > 0.54
    assert rows["windy"]["even"] == pytest.approx(0.5, abs=0.03)
    assert rows["windy"]["even"] + rows["short"]["even"] == pytest.approx(1, abs=1e-4)


def test_few_pairs_or_equal_lengths_give_no_share_at_equal_length():
    few, alike = Duels(), Duels()
    models = [pa.array([name] * 40) for name in ("x", "y")]
    few.add(models[0][:29], models[1][:29], np.arange(29))
    alike.add(*models, np.full(40, 7))
    assert [(row["model"], row["even"]) for row in few.rows()] == [("x", None), ("y", None)]
    assert [row["n"] for row in alike.rows()] == [40, 40]
    nothing = Duels()
    nothing.add(pa.array([None, "x"]), pa.array(["x", "x"]), np.array([1, 2]))
    assert nothing.rows() == []


def test_wilsons_interval():
    assert leaning(0, 0) is None
    found = leaning(8, 2)
    assert (found["low"], found["high"]) == pytest.approx((0.4902, 0.9433), abs=1e-4)


def test_a_histogram_keeps_its_outliers():
    spread = Spread()
    spread.add(np.array([0.0] * 500 + [1.0] * 499 + [1e9, np.nan]))
    found = spread.histogram()
    assert sum(bar[2] for bar in found["bars"]) == found["n"] == 1000
    assert found["bars"][-1][1] <= 1.0
    constant = Spread()
    constant.add(pa.array([2.0, None, 2.0], pa.float32()))
    assert [bar[2] for bar in constant.histogram()["bars"]] == [2]
    assert Spread().histogram() is None
    centred = Spread()  # standardised scores: what is left of their mean is rounding
    centred.add(np.tile(np.float32([0.1, -0.3, 0.2]), 99))
    assert centred.histogram()["mean"] == 0.0


def test_stages_of_one_kind_are_told_apart_in_words():
    alike = [{"n": 2, "sampling": {"temperature": t, "stop": ["a", "b"]}} for t in (0.3, 1.0)]
    assert _about((), alike, 1) == "sampling (temperature 1.0, stop a, b)"


def test_the_map_shows_the_main_directions():
    rng = np.random.default_rng(0)
    points = np.zeros((200, 5), dtype=np.float32)
    points[:, 3], points[:, 1] = rng.normal(0, 3, 200), rng.normal(0, 1, 200)
    places, explained = projected(points)
    assert explained == pytest.approx(1.0)
    assert abs(np.corrcoef(places[:, 0], points[:, 3])[0, 1]) > 0.99
    kept = points[:, 3] > 0
    found = np.array(cells(places, kept))
    assert found[:, 2].sum() == 200
    assert found[:, 3].sum() == kept.sum()
