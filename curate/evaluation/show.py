"""A judge's report as tables on a terminal; names are shown as they are, never read as markup."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text


def show_report(report: dict[str, Any], console: Console) -> None:
    """Print agreement, biases and what each filter keeps, with 95% intervals over prompts."""
    humans = report["humans"]
    console.print(
        f"{report['labelled']} labelled comparisons of {report['comparisons']}, "
        f"{report['prompts']} prompts; {humans['voters']} human votes each, "
        f"alpha {_plain(humans['alpha'])}, {humans['ties']:.1%} ties"
    )
    console.print(_agreement(report["judges"]))
    console.print(_biases(report["judges"]))
    for name, found in report["judges"].items():
        if isinstance(found["self_preference"], str):
            console.print(f"{name}, its own answers: {found['self_preference']}", markup=False)
    console.print(_styles(report["judges"]))
    console.print(_filters(report))
    twice = report["order_consistency"]
    if twice is not None:
        console.print(
            f"asked in both orders and consistent: {twice['consistent']['coverage']:.1%} kept, "
            f"{_percent(twice['consistent']['accuracy'])} right; {twice['verdict']}"
        )
    found = report["p_correct"]
    if found is None:
        console.print("too few labels for a calibrated p_correct")
        return
    for name, errors in found["calibration"].items():
        console.print(
            f"p_correct, {name.replace('_', ' ')}: ECE {_plain(errors['ece'])} "
            f"({_plain(errors['ece_by_chance'])} by chance alone), Brier {_plain(errors['brier'])}"
        )
    for name, steps in report["filters"].items():
        for step in steps:
            for key in ("p_correct", "p_correct_own_verdict"):
                if key in step:
                    console.print(_sentence(name, step, key), markup=False)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=Text(title, style="table.title"))
    for column in columns:
        table.add_column(column, overflow="fold")  # a name that is cut off may be another's
    return table


def _agreement(judges: dict[str, Any]) -> Table:
    table = _table(
        "Agreement with the humans' majority", "judge", "verdicts right", "readable ones",
        "with ties", "without", "kappa", "alpha", "unreadable", "ties",
    )  # fmt: skip
    for name, found in judges.items():
        table.add_row(
            Text(name),
            *(_percent(found[key]) for key in (
                "accuracy", "accuracy_readable", "agreement_with_ties", "agreement_without_ties"
            )),
            _plain(found["kappa"]),
            _plain(found["alpha"]),
            str(found["unreadable"]),
            str(found["ties"]),
        )  # fmt: skip
    return table


def _biases(judges: dict[str, Any]) -> Table:
    table = _table(
        "Leanings beside quality", "judge", "leans to", "compared", "judge", "humans", "excess",
        "shown",
    )  # fmt: skip
    kinds = {"position_bias": "first shown", "length_bias": "longer", "self_preference": "its own"}
    for name, found in judges.items():
        for key, words in kinds.items():
            lean = found[key]
            if isinstance(lean, str):
                continue
            judge = lean.get("judge", lean.get("first_bias"))
            human = lean.get("human")
            table.add_row(
                Text(name), words, str(lean["comparisons"]), _share(judge), _share(human),
                _percent(lean["excess"]), "yes" if lean["shown"] else "no",
            )  # fmt: skip
    return table


def _styles(judges: dict[str, Any]) -> Table:
    title = "Weight of style in log-odds, per root mean square of its difference"
    table = _table(title, "judge", "style", "judge", "humans", "excess")
    for name, found in judges.items():
        for feature, weight in (found["style"] or {}).items():
            value, low, high = (weight["excess"][key] for key in ("value", "low", "high"))
            excess = f"{value:+.2f} [{low:+.2f}, {high:+.2f}]"
            row = (f"{weight['judge']:.2f}", f"{weight['human']:.2f}", excess)
            table.add_row(Text(name), Text(feature), *row)
    return table


def _filters(report: dict[str, Any]) -> Table:
    title = f"Verdicts of {report['judge']}: what a filter keeps, and how right it is"
    table = _table(title, "filter", "at least", "kept", "coverage", "accuracy", "gain over all")
    table.add_row("none", "", str(report["all"]["kept"]), "100.0%",
                  _percent(report["all"]["accuracy"]), "")  # fmt: skip
    curves = dict(report["filters"])
    if report["p_correct"] is not None:
        curves["p_correct"] = report["p_correct"]["curve"]
    for name, steps in curves.items():
        for step in steps:
            table.add_row(
                Text(name), f"{step['threshold']:.3g}", str(step["kept"]),
                f"{step['coverage']:.1%}", _percent(step["accuracy"]),
                _percent(step["gain"], signed=True),
            )  # fmt: skip
    return table


def _sentence(name: str, step: dict[str, Any], key: str) -> str:
    whose = "its own verdicts" if key.endswith("own_verdict") else "the judge's verdicts"
    found = step[key]
    return (
        f"{found['kept']} by p_correct on {whose}, against {name} >= {step['threshold']:.3g}: "
        f"{found['verdict']}; as right on {found['kept_at_same_accuracy']} rows (no interval)"
    )


def _percent(value: dict[str, Any], signed: bool = False) -> str:
    if value["value"] is None:
        return "-"
    sign = "+" if signed else ""
    points = [100 * value[name] if value[name] is not None else float("nan")
              for name in ("value", "low", "high")]  # fmt: skip
    return f"{points[0]:{sign}.1f}% [{points[1]:{sign}.1f}, {points[2]:{sign}.1f}]"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _plain(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
