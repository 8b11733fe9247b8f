"""Benchmarks by name: where each lies on the Hugging Face hub, and what of it is looked for.

`python -m curate.methods.benchmark_list docs/benchmarks.md` writes the list as a page.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from pydantic import BaseModel, ConfigDict, Field, model_validator

from curate.errors import ConfigError, did_you_mean


class Benchmark(BaseModel):
    """A benchmark: a file (`path`), or a dataset of the Hugging Face hub (`hub`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1)
    path: str | None = None
    """A file: .jsonl, .json (a list of objects, or lines), .parquet, or .txt with an item a
    line; .gz where it is text."""
    hub: str | None = None
    config: str | None = None
    split: str = "test"
    revision: str | None = None
    data_file: str | None = None
    """A file within the hub's repository, for one that `datasets` cannot read as a whole."""
    column: str = "prompt"
    """Where the question is: a string, a list of strings or a conversation."""
    answers: str | None = None
    """Where the gold answers are, for `where: response`."""

    @model_validator(mode="after")
    def _one_place(self) -> Benchmark:
        if (self.path is None) == (self.hub is None):
            raise ValueError(f"benchmark {self.name!r}: give either `path` or `hub`")
        return self


def _hub(name: str, hub: str, column: str, **fields: str) -> tuple[str, Benchmark]:
    return name, Benchmark(name=name, hub=hub, column=column, **fields)


TASKS = dict(
    [
        _hub("alpaca_eval", "tatsu-lab/alpaca_eval", "instruction", split="train",
             data_file="alpaca_eval.json", answers="output"),
        _hub("aime_2024", "HuggingFaceH4/aime_2024", "problem", split="train", answers="solution"),
        _hub("arc_challenge", "allenai/ai2_arc", "question", config="ARC-Challenge"),
        _hub("arena_hard", "lmarena-ai/arena-hard-auto", "prompt", split="train",
             data_file="data/arena-hard-v2.0/question.jsonl"),
        _hub("drop", "ucinlp/drop", "question", split="validation"),
        _hub("gpqa_diamond", "Idavidrein/gpqa", "Question", config="gpqa_diamond", split="train",
             answers="Explanation"),
        _hub("gsm8k", "openai/gsm8k", "question", config="main", answers="answer"),
        _hub("hellaswag", "Rowan/hellaswag", "ctx", split="validation"),
        _hub("humaneval", "openai/openai_humaneval", "prompt", answers="canonical_solution"),
        _hub("ifeval", "google/IFEval", "prompt", split="train"),
        _hub("math_500", "HuggingFaceH4/MATH-500", "problem", answers="solution"),
        _hub("mbpp", "google-research-datasets/mbpp", "text", config="full", answers="code"),
        _hub("mmlu", "cais/mmlu", "question", config="all"),
        _hub("mmlu_pro", "TIGER-Lab/MMLU-Pro", "question"),
        _hub("mt_bench", "HuggingFaceH4/mt_bench_prompts", "prompt", split="train"),
        _hub("simpleqa", "basicv8vc/SimpleQA", "problem"),
        _hub("truthfulqa", "truthfulqa/truthful_qa", "question", config="generation",
             split="validation", answers="best_answer"),
        _hub("wildbench", "allenai/WildBench", "conversation_input", config="v2"),
    ]
)  # fmt: skip
"""Benchmarks of what a trained policy can do."""

REWARD = dict(
    [
        _hub("judgebench", "ScalerLab/JudgeBench", "question", split="gpt"),
        _hub("judgebench_claude", "ScalerLab/JudgeBench", "question", split="claude"),
        _hub("ppe", "lmarena-ai/PPE-Human-Preference-V1", "prompt"),
        _hub("reward_bench", "allenai/reward-bench", "prompt", split="filtered", answers="chosen"),
        _hub("reward_bench_2", "allenai/reward-bench-2", "prompt", answers="chosen"),
        _hub("rm_bench", "THU-KEG/RM-Bench", "prompt", split="train", answers="chosen"),
    ]
)  # fmt: skip
"""Benchmarks of reward models and judges."""

KNOWN: Mapping[str, Benchmark] = TASKS | REWARD
GROUPS: Mapping[str, tuple[str, ...]] = {"tasks": tuple(TASKS), "reward": tuple(REWARD)}

NOTES: Mapping[str, str] = {
    "arena_hard": "version 2.0; for version 0.1 name its file",
    "gpqa_diamond": "gated: log in to the hub, or leave it out",
    "judgebench": "the pairs of GPT-4o's answers",
    "judgebench_claude": "the pairs of Claude's answers",
    "ppe": "the human preferences; the correctness sets ask questions of mmlu_pro, MATH, GPQA, "
    "ifeval and MBPP Plus",
}
"""What a name stands for and what not, where that can be mistaken."""


def resolve(
    benchmarks: Iterable[str | Benchmark], without: Collection[str] = ()
) -> list[Benchmark]:
    """Return the benchmarks, names and groups ("tasks", "reward") looked up.

    Those named in `without` are left out. Raises ConfigError for an unknown name, for one that is
    there twice, and where nothing is left.
    """
    found: list[Benchmark] = []
    for entry in benchmarks:
        if isinstance(entry, Benchmark):
            found.append(entry)
            continue
        for name in GROUPS.get(entry, (entry,)):
            if name not in KNOWN:
                hint = did_you_mean(name, (*KNOWN, *GROUPS))
                if "/" in name or "." in name:
                    hint = f"; a file is {{name: mine, path: {name}, column: question}}"
                raise ConfigError(f"unknown benchmark {name!r}{hint}")
            if name not in without:  # a file of the same name may stand for it
                found.append(KNOWN[name])
    unknown = sorted(set(without) - set(KNOWN))
    if unknown:
        hint = did_you_mean(unknown[0], KNOWN)
        raise ConfigError(f"`without` names no known benchmark: {unknown[0]!r}{hint}")
    names = [benchmark.name for benchmark in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"benchmarks named twice: {', '.join(twice)}; rename or remove one")
    if not found:
        raise ConfigError("no benchmark is left to look for; shorten `without`")
    return found


def page() -> str:
    """Return docs/benchmarks.md: every known benchmark with what is read of it."""
    lines = [
        "<!-- Written by `make docs` from curate/methods/benchmark_list.py; edit that. -->",
        "# Benchmarks that `decontaminate` knows by name",
        "",
        "They are fetched from the Hugging Face hub when a run begins. Without a network name a",
        "local copy: `{name: gsm8k, path: evals/gsm8k.jsonl, column: question, answers: answer}`.",
        "`without: [gpqa_diamond]` leaves some of a group out. Of a conversation the user's turns",
        "are questions, and the assistant's are gold answers. Where no column of gold answers is",
        "given, `where: response` has nothing to look for.",
    ]
    for group, names in GROUPS.items():
        lines += [
            "",
            f"## `{group}`",
            "",
            "| name | on the hub | config, split or file | questions | gold answers | |",
            "|---|---|---|---|---|---|",
        ]
        for one in (KNOWN[name] for name in names):
            where = ", ".join(filter(None, (one.config, one.split, one.data_file)))
            answers = f"`{one.answers}`" if one.answers else "none"
            lines.append(
                f"| `{one.name}` | {one.hub} | {where} | `{one.column}` | {answers} "
                f"| {NOTES.get(one.name, '')} |"
            )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    import sys
    from pathlib import Path

    Path(sys.argv[1]).write_text(page(), encoding="utf-8")
