import orjson
import pyarrow as pa
import pytest
from fake_engine import context, table

from curate.arrays import concat_lists
from curate.errors import ConfigError
from curate.export.annotate import write_tasks
from curate.schema import JUDGMENTS, PAIRS
from curate.stages.overrule import Overrule
from curate.stages.people import People
from curate.stages.route_pairs import RoutePairs

ANSWERS = [["yes it is", "no it is not"] for _ in range(4)]
GIVEN = [[(0, 1, None)], [(0, 1, None)], [(1, 0, None), (0, 1, "gone")], [(0, 1, None)]]
TAGS = pa.array([["a", "c"], ["b"], ["a"], None], pa.list_(pa.string()))
GAINS = {"a": 0.3, "b": -0.1, "c": 0.2}


def view():
    return table(ANSWERS, pairs=GIVEN, tags=TAGS)


def route(budget, **fields):
    return RoutePairs(coefficients=GAINS, budget=budget, tags="tags", **fields)


def test_the_budgets_share_goes_to_people():
    ctx = context(None)
    made = route(0.25).apply(view(), ctx)  # of four live pairs: one
    gains = [[None if g is None else round(g, 6) for g in row] for row in made["gain"].to_pylist()]
    assert gains == [[0.5], [-0.1], [0.3, None], [0.0]]
    assert made["for_people"].to_pylist() == [[True], [False], [False, False], [False]]
    assert ctx.counts["pairs for people"] == 1
    assert ctx.counts["pairs for models"] == 3
    assert ctx.counts["coefficients that no pair meets"] == 0
    made = route(4).apply(view(), context(None))  # but two of the four have nothing to gain
    assert made["for_people"].to_pylist() == [[True], [False], [True, False], [False]]


def test_the_texts_measures_are_features_too():
    stage = RoutePairs(coefficients={"shorter_words=low": 1.0, "length_gap=middle": 0.5}, budget=1)
    assert stage.needed() == ("id", "prompt", "candidates", "pairs")
    made = stage.apply(view(), context(None))
    assert made["gain"].to_pylist() == [[1.5], [1.5], [1.5, None], [1.5]]
    orders = {
        tuple(map(tuple, stage.apply(view(), context(None, seed)) ["for_people"].to_pylist()))
        for seed in range(20)
    }  # fmt: skip
    assert len(orders) > 1  # equal gains are drawn by the seed


def test_without_coefficients_doubt_counts():
    rows = view()
    pairs = rows["pairs"].to_pylist()
    for row, p in zip(pairs, (0.5, 0.9, 0.5, None), strict=True):
        row[0]["p_correct"] = p
    rows = rows.set_column(rows.column_names.index("pairs"), "pairs", pa.array(pairs, PAIRS))
    made = RoutePairs(budget=0.5).apply(rows, context(None))
    gains = [[None if g is None else round(g, 3) for g in row] for row in made["gain"].to_pylist()]
    assert gains == [[1.0], [0.469], [1.0, None], [None]]
    assert made["for_people"].to_pylist() == [[True], [False], [True, False], [False]]
    rows = rows.append_column("kind", pa.array(["a", "a", None, "a"]))
    stage = RoutePairs(budget=1, group="kind")
    assert stage.needed()[-1] == "kind"
    made = stage.apply(rows, context(None))
    assert made["for_people"].to_pylist() == [[False], [False], [True, False], [False]]
    with pytest.raises(ValueError, match="group is for doubt"):
        RoutePairs(budget=1, coefficients=GAINS, group="kind")
    with pytest.raises(ValueError, match="tags count by their coefficients"):
        RoutePairs(budget=1, tags="tags")


def test_names_that_are_no_features_are_refused():
    with pytest.raises(ValueError, match="did you mean"):
        RoutePairs(coefficients={"length_gap=midle": 1.0}, budget=1)
    with pytest.raises(ValueError, match="one of low, middle, high"):
        RoutePairs(coefficients={"length_gap": 1.0}, budget=1)
    with pytest.raises(ValueError, match="no measure 'length'"):
        RoutePairs(coefficients={"length=low": 1.0}, budget=1)


def test_people_are_asked_about_what_was_routed_and_their_answer_counts(tmp_path):
    rows, path = view(), tmp_path / "tasks.json"
    for name, column in route(2).apply(rows, context(None)).items():
        rows = rows.append_column(name, column)
    assert write_tasks([rows], path, "argilla") == 2
    tasks = orjson.loads(path.read_bytes())
    assert [task["metadata"]["row"] for task in tasks] == ["r0", "r2"]  # the most to gain first
    for task in tasks:
        no = "first" if task["fields"]["first"].startswith("no") else "second"
        task["responses"] = {"better": [{"value": no, "user_id": "7"}]}
    path.write_bytes(orjson.dumps(tasks))
    rows = rows.append_column(
        "judgments", People(path=str(path)).apply(rows, context(None))["judgments"]
    )
    ctx = context(None)
    made = Overrule().apply(rows, ctx)["pairs"].to_pylist()
    assert [(p["chosen"], p["rejected"]) for row in made for p in row if not p["drop"]] == [
        (1, 0), (0, 1), (1, 0), (0, 1),
    ]  # fmt: skip
    assert ctx.counts["turned"] == ctx.counts["confirmed"] == 1
    nobody = pa.array([[False], [False], [False, False], [False]])
    none = rows.set_column(rows.column_names.index("for_people"), "for_people", nobody)
    with pytest.raises(ConfigError, match="for_people"):
        write_tasks([none], tmp_path / "none.json", "argilla")


def judged(*scores):
    """Judgments of the only pair, one a person, + for candidate 0."""
    entries = [
        {"judge": f"people:{k}", "a": 0, "b": 1, "order": "ab", "score": s, "status": "ok"}
        for k, s in enumerate(scores)
    ]
    return pa.array([entries], JUDGMENTS)


@pytest.mark.parametrize(
    ("scores", "chosen", "drop"),
    [
        ((), 0, None),
        ((1.0,), 0, None),
        ((-1.0, -1.0, 1.0), 1, None),
        ((-1.0, 1.0), 0, "evenly split: people"),
        ((0.0,), 0, "evenly split: people"),
    ],
)
def test_most_people_decide(scores, chosen, drop):
    other = pa.array([[{"judge": "peoples", "a": 0, "b": 1, "score": -1.0, "status": "ok"}]],
                     JUDGMENTS)  # fmt: skip
    rows = table([["x", "y"]], pairs=[[(0, 1, None)]])
    rows = rows.append_column("judgments", concat_lists(judged(*scores), other))
    (pair,) = Overrule().apply(rows, context(None))["pairs"].to_pylist()[0]
    assert (pair["chosen"], pair["drop"]) == (chosen, drop)
