"""What is done wrong, and the exact line that says so: what, where, and what to do."""
# ruff: noqa: E501 - a message stands on one line, as it is printed

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from small import SMALL

from curate import cli
from curate.guard import locked

PIPELINE = SMALL.replace("PROMPTS", "rows.jsonl")
ROWS = [{"id": f"p{i}", "prompt": f"Tell me {i} facts about {i * i}."} for i in range(12)]
OK = '{"id": "a", "prompt": "Hi there"}\n'
OPENAI = "{openai: {model: m, base_url: 'http://127.0.0.1:9/v1', retries: 0}}"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with a pipeline and its rows, as the current one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CURATE_ROOT", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(sys, "path", list(sys.path))  # `main` adds to it
    (tmp_path / "p.yaml").write_text(PIPELINE)
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return tmp_path


@pytest.fixture
def curate(here, monkeypatch, capsys):
    """Run one command in this process; return its exit code and what it says."""

    def call(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["curate", *arguments])
        capsys.readouterr()
        try:
            cli.main()
        except SystemExit as ended:
            return int(ended.code or 0), capsys.readouterr().err
        return 0, capsys.readouterr().err

    return call


# what stands in the pipeline, what is written instead, and the whole message
PIPELINES = {
    "column": ("prompt: prompt", "prompt: promt", "rows.jsonl, row 1: no column 'promt'; did you mean 'prompt'? (set it under `columns`)"),
    "stage": ("best_worst", "best_wurst", "p.yaml: stage 5: unknown stage 'best_wurst'; did you mean 'best_worst'?"),
    "field": ("at_least", "at_lest", "p.yaml: stage 6 (`margin`): unknown field 'at_lest'; did you mean 'at_least'?"),
    "field below": ("{id: id, prompt: prompt}", "{id: id, promt: prompt}", "p.yaml: source (`jsonl`): unknown field 'columns.promt'; did you mean 'prompt'?"),
    "sampling": ("n: 3", "sampling: {temprature: 1}", "p.yaml: stage 2 (`generate`): unknown field 'sampling.temprature'; did you mean 'temperature'?"),
    "engine kind": ("scripted: {}", "scriptd: {}", "p.yaml: engine 'small': unknown engine 'scriptd'; did you mean 'scripted'?"),
    "engine role": ("likelihood: {engine: small}", "likelihood: {engine: smal}", "stage 3 (`likelihood`): no engine named 'smal'; did you mean 'small'?"),
    "engine field": ("scripted: {}", "scripted: {delay: 1}", "p.yaml: engine 'small' (`scripted`): unknown field 'delay'; did you mean 'delay_s'?"),
    "capability": ("{scripted: {}}", OPENAI, "stage 3 (`likelihood`) needs loglikelihood of engine 'small', which a openai engine does not offer"),
    "source": ("jsonl:", "json:", "p.yaml: source: unknown source 'json'; did you mean 'jsonl'?"),
    "source field": ("shard_rows", "shard_row", "p.yaml: source (`jsonl`): unknown field 'shard_row'; did you mean 'shard_rows'?"),
    "form": ("version: 1", "version: 1\nexport: preferense", "unknown export form 'preferense'; did you mean 'preference'? (`curate export --list` has all)"),
    "key": ("version: 1", "version: 1\nlicence: mit", "p.yaml: unknown key 'licence'; did you mean 'license'?"),
    "no name": ("name: small\n", "", "p.yaml: the pipeline has no `name`"),
    "version": ("version: 1", "version: 2", "p.yaml: version 2 is not known; this curate reads 1"),
    "seed": ("version: 1", "version: 1\nseed: one", "p.yaml: `seed` must be a whole number"),
    "name": ("name: small", "name: ../up", "p.yaml: pipeline name '../up': use letters, digits, '.', '_' and '-'"),
    "tab": ("  - exact_dedup", "\t- exact_dedup", "p.yaml: line 8: a tab; YAML is indented with spaces"),
    "key twice": ("n: 3", "n: 3, n: 4", 'p.yaml: line 9: found duplicate key "n" with value "4" (original value: "3")'),
    "tag": ("name: small", "name: !!python/name:os.system x", "p.yaml: line 2: tags such as tag:yaml.org,2002:python/name:os.system are not allowed"),
    "anchor": ("name: small", "name: &a small", "p.yaml: line 2: anchors and aliases are not allowed"),
    "two documents": ("version: 1", "version: 1\n---\nversion: 1", "p.yaml: line 2: a second document begins here; keep one pipeline a file"),
    "bracket": ("n: 3}", "n: 3", "p.yaml: line 10: expected ',' or '}', but got ':'"),
    "one text for a list": ("- margin: {at_least: 0.01}", "- split: {together: meta.by}", "p.yaml: stage 6 (`split`): together: must be a list, as in [meta.by]"),
    "list for a mapping": ("- margin: {at_least: 0.01}", "- split: {parts: [a]}", "p.yaml: stage 6 (`split`): parts: must be a mapping, as in {name: value}"),
    "several sets of words": ("- margin: {at_least: 0.01}", "- near_dedup: {on: prompts}", "p.yaml: stage 6 (`near_dedup`): on: Input should be 'prompt', 'last_turn', 'conversation', 'response', 'pair' or 'embedding'"),
    "column of a chosen name": ("- margin: {at_least: 0.01}", "- diverse: {keep: 3}", "stage 6 (`diverse`) needs `embedding`, which no earlier stage writes (add one of: embed); columns here: candidates, id, judgments, meta, pairs, prompt, score_std, scores; a column of the source's own is called \"meta.embedding\""),
    "not a number": ("n: 3", "n: many", "p.yaml: stage 2 (`generate`): n: Input should be a valid integer, unable to parse string as an integer"),
    "out of range": ("n: 3", "n: 0", "p.yaml: stage 2 (`generate`): n: Input should be greater than or equal to 1"),
    "no list": ("stages:\n  - exact_dedup\n", "stages: {a: b}\nengine:\n", "p.yaml: unknown key 'engine'; did you mean 'engines'?"),
    "stage form": ("- exact_dedup", "- {exact_dedup: {}, margin: {}}", "p.yaml: stage 1: expected `name` or `name: {field: value}`"),
    "stage fields": ("- exact_dedup", "- exact_dedup: [1]", "p.yaml: stage 1: the fields of 'exact_dedup' must be a mapping"),
    "engines": ("engines:\n  small: {scripted: {}}", "engines: [small]", "p.yaml: `engines` must be a mapping"),
    "own stage": ("- exact_dedup", "- 'nosuchmodule:Thing'", "p.yaml: stage 1: cannot import stage 'nosuchmodule:Thing': No module named 'nosuchmodule'; install it, or start in the folder that holds it"),
    "no stage": ("- exact_dedup", "- 'json:dumps'", "p.yaml: stage 1: 'json:dumps' is not a stage class; name one that derives from curate.stage:Stage and has all of its methods"),
    "half a pair": ("{id: id, prompt: prompt}", "{chosen: c}", "p.yaml: source (`jsonl`): columns: chosen and rejected go together; map both or neither"),
    "rubric": ("likelihood: {engine: small}", "judge: {engine: small, rubric: helpfulnes}", "p.yaml: stage 3 (`judge`): no built-in rubric 'helpfulnes'; did you mean 'helpfulness'?; a path of your own ends in .md"),
    "empty pattern": ("rows.jsonl", "'none/*.jsonl'", "no file matches 'none/*.jsonl' in HERE; check `path`"),
    "folder": ("rows.jsonl", "./", "./ is a folder; name its files, as in ./*.jsonl or ./**/*.parquet"),
    "encoder": ("  - best_worst", "  - embed: {model: ./nomodel}\n  - best_worst", "stage `embed`: encoder './nomodel': there is no such folder in HERE"),
}  # fmt: skip


@pytest.mark.parametrize("case", PIPELINES)
def test_a_wrong_pipeline(case: str, here: Path, curate) -> None:
    old, new, message = PIPELINES[case]
    assert old in PIPELINE
    (here / "p.yaml").write_text(PIPELINE.replace(old, new, 1))
    assert curate("run", "p.yaml") == (2, f"error: {message.replace('HERE', str(here))}\n")


# the file's content, and the message; the file is rows.jsonl
DATA = {
    "json": (OK + '{"id": "b", "prompt": \n', "rows.jsonl, row 2: invalid JSON at column 22: Expecting value; each line must be one whole JSON object"),
    "array": ('[{"id": "a"}]\n', "rows.jsonl is one JSON array; write one object a line, as with polars.read_json('rows.jsonl').write_ndjson('rows.jsonl')"),
    "array over lines": ('[\n {"id": "a"}\n]\n', "rows.jsonl is one JSON array; write one object a line, as with polars.read_json('rows.jsonl').write_ndjson('rows.jsonl')"),
    "a line is a list": (OK + '["b"]\n', "rows.jsonl, row 2: expected a JSON object, found list; write one object a line"),
    "column twice": ('{"id": "a", "prompt": "x", "prompt": "y"}\n', "rows.jsonl, row 1: column 'prompt' occurs twice; rename or remove one of them"),
    "not UTF-8": (OK.encode() + b'{"id": "b", "prompt": "\xff"}\n', "rows.jsonl, row 2: not valid UTF-8 at byte 23; re-encode the file as UTF-8"),
    "number": (OK + '{"id": "b", "prompt": 3}\n', "rows.jsonl, row 2: column 'prompt' must be text or a list of {role, content}, not int; fix the row, or map another column"),
    "no id": (OK + '{"prompt": "x"}\n', "rows.jsonl, row 2: no column 'id'; known: prompt (set it under `columns`)"),
    "role": ('{"id": "b", "prompt": [{"role": "boss", "content": "x"}]}\n', "rows.jsonl, row 1: column 'prompt', message 1: unknown role 'boss'; known: assistant, system, user"),
    "no role": ('{"id": "b", "prompt": [{"speaker": "human", "text": "x"}]}\n', "rows.jsonl, row 1: column 'prompt', message 1: has no role but 'speaker', 'text'; messages are {role, content}, and a list of answers is `candidates`"),
    "one id, two rows": (OK + '{"id": "a", "prompt": "other"}\n', "rows that differ share the id 'a' (column 'id'): rows.jsonl:1, rows.jsonl:2 (file:row, blank lines not counted); map another column as id, or none to have ids made from the rows' content"),
}  # fmt: skip


@pytest.mark.parametrize("case", DATA)
def test_wrong_data(case: str, here: Path, curate) -> None:
    content, message = DATA[case]
    (here / "rows.jsonl").write_bytes(content if isinstance(content, bytes) else content.encode())
    assert curate("run", "p.yaml") == (2, f"error: {message}\n")


# the command after `curate`, and the message
COMMANDS = {
    "run nowhere.yaml": "cannot read pipeline nowhere.yaml: No such file or directory",
    "run p.yaml --set marginn.at_least=1": "p.yaml: --set 'marginn.at_least=1': no stage is named 'marginn'; did you mean 'margin'?",
    "run p.yaml --set margin.at_lest=1": "p.yaml: stage 6 (`margin`): unknown field 'at_lest'; did you mean 'at_least'?",
    "run p.yaml --set margin.at_least=big": "p.yaml: stage 6 (`margin`): at_least: Input should be a valid number, unable to parse string as a number",
    "run p.yaml --set margin.at_least": "p.yaml: --set 'margin.at_least': write stage.field=value",
    "run p.yaml --set margin.at_least=[1": "p.yaml: --set 'margin.at_least=[1': line 1: expected ',' or ']', but got '<stream end>'",
    "run p.yaml --set engines.smal.delay_s=1": "p.yaml: --set 'engines.smal.delay_s=1': no such engine; did you mean 'small'?",
    "run p.yaml --shard 9/8": "--shard 9/8: write 1/8 to 8/8 for eight shares",
    "run p.yaml --shard half": "--shard 'half': write i/n, such as 3/8",
    "run p.yaml --until margn": "until: no stage is named 'margn'; did you mean 'margin'?",
    "run p.yaml --executor locl": "--executor: unknown executor 'locl'; did you mean 'local'?",
    "status smal": "no run 'smal' below .; runs: small",
    "show small --id zz": (
        "no row with id 'zz' in this run; `curate show NAME --dropped` and the exported dataset's "
        "column `id` have ids to choose from"
    ),
    "audit small --engine scriptd": (
        "--engine: unknown engine 'scriptd'; did you mean 'scripted'?"
    ),
    "export small out --format openrhlf": "unknown export form 'openrhlf'; did you mean 'openrlhf'? (`curate export --list` has all)",
    "export small out --file csv": "unknown file format 'csv'; known: jsonl, parquet",
    "export small .": "HERE exists and is not an earlier export; choose another folder",
    "ask small t.json --tool labelstudio": "unknown tool 'labelstudio'; did you mean 'label-studio'?",
    "report small --against big": "no run 'big' below .; runs: small",
    "push small a/b/c": "'a/b/c' is no repository name; write owner/name",
    "stages margn": "unknown stage 'margn'; did you mean 'margin'?",
    "audit nowhere": "no run 'nowhere' below .; runs: small",
    "audit rows.jsonl": "rows.jsonl, from row 1: no column 'chosen'; known: id, prompt; name it with --map chosen=COLUMN",
    "plan p.yaml --prices none.yaml": "cannot read prices none.yaml: No such file or directory",
    "lint nowhere.parquet": "no file matches 'nowhere.parquet' in HERE; check `path`",
    "lint rows.jsonl --map chosen=better": "rows.jsonl, from row 1: no column 'better'; known: id, prompt; name it with --map chosen=COLUMN",
    "lint rows.jsonl --map promt=x": "--map: unknown meaning 'promt'; did you mean 'prompt'?",
}  # fmt: skip


@pytest.fixture
def finished(here: Path, curate) -> None:
    assert curate("run", "p.yaml")[0] == 0


@pytest.mark.usefixtures("finished")
def test_wrong_commands(here: Path, curate) -> None:
    for command, message in COMMANDS.items():
        code, said = curate(*command.split())
        assert code == 2, command
        assert said == f"error: {message.replace('HERE', str(here))}\n", command


@pytest.mark.usefixtures("finished")
def test_options_that_cannot_be(curate) -> None:
    for command, end in {
        "run": "Missing argument",
        "run p.yaml --limit 0": "'--limit'",
        "run p.yaml --lmit 1": "No such option: --lmit (Possible options: --limit",
        "rnu p.yaml": "No such command 'rnu'. Did you mean 'run'?",
        "show small": "give either --id ID or --dropped",
        "show small --id a --dropped": "give either --id ID or --dropped",
    }.items():
        code, said = curate(*command.split())
        assert code == 2, command
        assert end in said.splitlines()[-1], command
        assert "Traceback" not in said


def test_a_table_as_text_is_not_read(here: Path, curate) -> None:
    (here / "rows.csv").write_text("id,prompt\na,Hi\n")
    code, said = curate("run", "p.yaml", "--set", "source.path=rows.csv")
    assert code == 2
    assert said.startswith("error: rows.csv: a table as text is not read; turn it into Parquet")
    assert curate("lint", "rows.csv") == curate("audit", "rows.csv") == (code, said)


def test_a_stage_before_the_one_it_needs(here: Path, curate) -> None:
    (here / "p.yaml").write_text(PIPELINE.replace("  - combine\n  - best_worst\n", ""))
    code, said = curate("run", "p.yaml")
    assert code == 2
    assert said.startswith(
        "error: stage 4 (`margin`) needs `pairs`, which no earlier stage writes (add one of: "
    )
    assert "best_worst" in said
    assert said.endswith(
        "; or map one of the source's `columns`: chosen); "
        "columns here: candidates, id, judgments, meta, prompt\n"
    )


def test_a_server_that_is_not_there(here: Path, curate) -> None:
    text = PIPELINE.replace("{scripted: {}}", OPENAI).replace("  - likelihood", "  - judge")
    (here / "p.yaml").write_text(text)
    code, said = curate("run", "p.yaml", "--workers", "1")
    assert code == 3
    assert "http://127.0.0.1:9/v1" in said.splitlines()[-1]
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("module", "extra", "stage"),
    [("openai", "openai", "judge: {engine: small}"), ("sentence_transformers", "embed", "embed")],
)
def test_an_extra_that_is_missing(module, extra, stage, here, curate, monkeypatch) -> None:
    text = PIPELINE.replace("generate: {engine: small, n: 3}", stage).partition("  - likeli")[0]
    if module == "openai":
        text = text.replace("{scripted: {}}", OPENAI).replace("judge:", "generate:")
    (here / "p.yaml").write_text(text + "export: null\n")
    monkeypatch.setitem(sys.modules, module, None)
    from curate import encoders

    encoders._load.cache_clear()
    code, said = curate("run", "p.yaml")
    package = module.replace("_", "-")
    assert said.splitlines()[-1] == (
        f"error: {package} is not installed; "
        f"install it with: pip install 'curate-preferences[{extra}]'"
    )
    assert code == 2


def test_a_run_that_is_under_way(here: Path, curate) -> None:
    with locked(here / "runs" / "small"):
        code, said = curate("run", "p.yaml")
    assert code == 75
    assert said.startswith("error: another run works in runs/small: process ")
    assert said.endswith("; wait for it or use another name\n")


def test_a_root_that_cannot_be_written(curate) -> None:
    assert curate("run", "p.yaml", "--root", "rows.jsonl") == (
        3,
        "error: cannot write to rows.jsonl/runs/small: Not a directory; free space or fix "
        "permissions, then run the same command again\n",
    )


@pytest.mark.usefixtures("finished")
def test_a_damaged_manifest(here: Path, curate) -> None:
    (here / "runs/small/manifest.json").write_text("{")
    assert curate("status", "small") == (
        3, "error: runs/small/manifest.json is damaged; run the pipeline again to rewrite it\n",
    )  # fmt: skip


def test_nothing_left_is_said_and_is_no_error(here: Path, curate) -> None:
    code, said = curate("run", "p.yaml", "--set", "margin.at_least=99")
    assert code == 0
    assert "12 rows = 0 kept + 12 dropped + 0 failed\n" in said
    assert "no row is left; `curate show small --dropped` says why of each\n" in said
    (here / "rows.jsonl").write_text("\n\n")
    code, said = curate("run", "p.yaml", "--set", "name=empty")
    assert code == 0
    assert (
        "0 rows = 0 kept + 0 dropped + 0 failed\nthe source has no rows: look at its path" in said
    )
