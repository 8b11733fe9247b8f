"""Output tokens per second of a whole pipeline against one raw `LLM.chat` call.

Run `python benchmarks/engine.py` (CPU, packaged SmolLM2) or, on a GPU of 80 GB without any weights,
`python benchmarks/engine.py --shape 8b --rows 512 --tokens 256 --seqs 256`. `--shape tiny` is a
model of two layers that says nothing, to see that the benchmark itself runs.

Each arm holds its engine in a process of its own, started with the same options and warmed up
before anything is timed; the start is reported apart. Rounds take the arms in turn, over new
prompts each round, so nothing comes from the prefix cache and a busy machine is fair to all. Two
engines are up at a time, each with a share `--memory` of the GPU.

- pipeline: `curate.loop.run` over shards, from the prompts' file to the committed parts;
- raw: one `LLM.chat` call with all the requests at once;
- barrier: `LLM.chat` once a shard, waiting for its last answer before the next begins.

"even" gives every answer the same length, "spread" lengths of 1:20. "judge" grades 8 answers to
each long prompt, and "follow_ups" asks for the likelihood of 6 things said after each, with and
without prefix caching.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
os.environ["PYTHONPATH"] = str(Path(__file__).parent)  # where the engine's process finds Paced

import pyarrow as pa
from model_shapes import SHAPES, WINDOW, write_shape
from paced_engine import Paced, pace

from curate.engines.vllm_loading import engine_options, on_cpu, set_environment
from curate.executors import Local
from curate.loop import run
from curate.pipeline import Pipeline
from curate.schema import CANDIDATES, PROMPT
from curate.stage import Context, Stage
from curate.stages.judge import Judge
from curate.stages.likelihood import Likelihood

PIPELINE = """\
name: throughput
source: {jsonl: {path: PROMPTS, shard_rows: ROWS, columns: {id: id, prompt: prompt}}}
engines:
  model: {"paced_engine:Paced": ENGINE}
stages:
  - generate: {engine: model, n: 1, drop_truncated: false, sampling: {temperature: 0}}
export: null
"""


STAGES: dict[str, Stage] = {
    "judge": Judge(engine="model", score="expected", min_mass=0.0),
    "follow_ups": Likelihood(
        engine="model",
        positive=tuple(f"Thanks, that is {word}." for word in ("right", "clear", "what I need")),
        negative=tuple(f"No, that is {word}." for word in ("wrong", "unclear", "of no use")),
    ),
}
"""What is timed with and without prefix caching: calls that share a long beginning."""


def prompts_of(shards: int, rows: int, mark: str) -> list[str]:
    """Return prompts that share no beginning with those of another mark."""
    return [f"{mark}.{i}: write down what you know about number {i}." for i in range(shards * rows)]


def conversation(prompt: str) -> list[dict[str, str]]:
    """Return the prompt as one user turn."""
    return [{"role": "user", "content": prompt}]


def pipeline_arm(
    spec: Paced, prompts: list[str], rows: int, executor: Local, folder: Path
) -> dict[str, float]:
    """Run the pipeline; return output tokens, seconds of the whole run and of generating."""
    folder.mkdir()
    lines = [json.dumps({"id": f"p{i}", "prompt": p}) + "\n" for i, p in enumerate(prompts)]
    (folder / "prompts.jsonl").write_text("".join(lines))
    text = PIPELINE.replace("PROMPTS", str(folder / "prompts.jsonl")).replace("ROWS", str(rows))
    fields = json.dumps(spec.model_dump(mode="json", exclude_defaults=True))
    seen: list[tuple[float, dict[str, Any]]] = []
    started = time.perf_counter()
    ended = run(
        Pipeline.loads(text.replace("ENGINE", fields)), folder, executor=executor,
        listener=lambda event: seen.append((time.perf_counter(), event)),
    )  # fmt: skip
    seconds = time.perf_counter() - started
    assert ended.finished
    begun = next(at for at, e in seen if e["event"] == "stage" and e["stage"] == "generate")
    parts = [(at, e) for at, e in seen if e["event"] == "part" and e["stage"] == "generate"]
    tokens = sum(e["counts"]["tokens"] for _, e in parts)
    return {"tokens": tokens, "seconds": seconds, "generate": parts[-1][0] - begun}


class Server:
    """A process of its own running this script, which answers one line a line."""

    def __init__(self, kind: str, spec: Paced) -> None:
        """Start it and wait until the model is loaded and warm."""
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--serve", kind, "--spec", spec.model_dump_json()],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        self.start_s = self._answer()["start_s"]

    def ask(self, **question: Any) -> dict[str, float]:
        """Send one question and wait for its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        """End the process."""
        self._process.communicate()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("RESULT "):
                return dict(json.loads(line.removeprefix("RESULT ")))
        raise RuntimeError("the process ended; run it by hand with --serve to see why")


def serve(kind: str, spec: Paced) -> None:
    """Hold an engine; answer questions from standard input."""
    started = time.perf_counter()
    answer = serve_raw(spec) if kind == "raw" else serve_stage(spec, STAGES[kind])
    print("RESULT", json.dumps({"start_s": time.perf_counter() - started}), flush=True)
    for line in sys.stdin:
        print("RESULT", json.dumps(answer(**json.loads(line))), flush=True)
    os._exit(0)


def serve_raw(spec: Paced) -> Any:
    """Load `LLM` as the product does and return what times its chat calls."""
    cpu = set_environment(spec)
    import vllm

    llm = vllm.LLM(**engine_options(spec, cpu))
    tokenizer = llm.get_tokenizer()

    def answer(prompts: list[str], rows: int, shortest: int, longest: int) -> dict[str, float]:
        asked = []
        for prompt in prompts:
            text = tokenizer.apply_chat_template(
                conversation(prompt), tokenize=False, add_generation_prompt=True
            )
            params = vllm.SamplingParams(temperature=0.0)
            pace(params, tokenizer(text, add_special_tokens=False)["input_ids"], shortest, longest)
            asked.append((conversation(prompt), params))
        started = time.perf_counter()
        tokens = 0
        for at in range(0, len(asked), rows):
            turns, params = zip(*asked[at : at + rows], strict=True)
            done = llm.chat(list(turns), list(params), use_tqdm=False)
            tokens += sum(len(output.outputs[0].token_ids) for output in done)
        return {"tokens": tokens, "seconds": time.perf_counter() - started}

    answer(prompts_of(1, 8, "warm"), 8, 8, 8)
    return answer


def serve_stage(spec: Paced, stage: Stage) -> Any:
    """Load the engine and return what times a stage on long prompts with 8 answers each."""
    engine = spec.load()

    def answer(mark: str, prompts: int, words: int) -> dict[str, float]:
        said = [{"text": f"Answer {k}, which is short.", "finish_reason": "stop"} for k in range(8)]
        turns = [conversation(f"{mark}.{i} " + "many words here " * words) for i in range(prompts)]
        columns = {
            "id": pa.array([f"p{i}" for i in range(prompts)]),
            "prompt": pa.array(turns, PROMPT),
            "candidates": pa.array([said] * prompts, CANDIDATES),
        }
        context = Context(engines={"model": engine})
        started = time.perf_counter()
        stage.apply(pa.table(columns).select(stage.needed()), context)
        seconds = time.perf_counter() - started
        counts = context.counts
        assert not counts["errors"] + counts["too_long"], counts
        cached = counts["cached_tokens"] / counts["prompt_tokens"]
        return {"calls": counts["calls"], "seconds": seconds, "cached": cached}

    answer("warm", 1, 8)
    return answer


def measure(
    case: str, spec: Paced, raw: Server, options: argparse.Namespace, folder: Path
) -> dict[str, Any]:
    """Take the three arms in turn and return tokens per second, and ratios to raw by round."""
    spread = case == "spread"
    shards, rows = options.shards * (2 if spread else 1), options.rows // (2 if spread else 1)
    rates: dict[str, list[float]] = {"pipeline": [], "generate": [], "raw": [], "barrier": []}
    executor = Local(workers=options.workers)
    warm = time.perf_counter()
    pipeline_arm(spec, prompts_of(1, 8, f"warm{case}"), 8, executor, folder / f"{case}-warm")
    start_s = time.perf_counter() - warm
    for number in range(options.rounds):
        prompts = prompts_of(shards, rows, f"{case}{number}")
        pace_ = {"shortest": spec.shortest, "longest": spec.longest}
        found = pipeline_arm(spec, prompts, rows, executor, folder / f"{case}-{number}")
        rates["pipeline"].append(found["tokens"] / found["seconds"])
        rates["generate"].append(found["tokens"] / found["generate"])
        for arm, size in (("raw", len(prompts)), ("barrier", rows)):
            turned = [f"{arm} {p}" for p in prompts]  # as long, and not in the prefix cache
            done = raw.ask(prompts=turned, rows=size, **pace_)
            rates[arm].append(done["tokens"] / done["seconds"])
    executor.close()
    ratios = {
        arm: [round(r / w, 3) for r, w in zip(found, rates["raw"], strict=True)]
        for arm, found in rates.items()
    }
    return {
        "case": case, "shards": shards, "rows": rows, "workers": options.workers,
        "start_s": {"pipeline": round(start_s, 1), "raw": round(raw.start_s, 1)},
        "tokens_per_s": {arm: round(median(found)) for arm, found in rates.items()},
        "ratio_to_raw": {arm: round(median(found), 3) for arm, found in ratios.items()},
        "rounds": ratios,
    }  # fmt: skip


def measure_prefix(case: str, spec: Paced, options: argparse.Namespace) -> dict[str, Any]:
    """Return calls per second with and without prefix caching, and the share of tokens cached."""
    arms = {on: spec.model_copy(update={"enable_prefix_caching": on}) for on in (True, False)}
    servers = {on: Server(case, arm) for on, arm in arms.items()}
    rates: dict[bool, list[float]] = {True: [], False: []}
    cached = {}
    for number in range(options.rounds):
        for on, server in servers.items():
            done = server.ask(mark=f"round{number}", prompts=options.judged, words=options.words)
            rates[on].append(done["calls"] / done["seconds"])
            cached[on] = round(done["cached"], 3)
    for server in servers.values():
        server.close()
    gains = [round(on / off, 2) for on, off in zip(rates[True], rates[False], strict=True)]
    return {
        "case": case, "calls": done["calls"],
        "calls_per_s": {str(on): round(median(found), 2) for on, found in rates.items()},
        "cached_share": {str(on): share for on, share in cached.items()},
        "gain": median(gains), "rounds": gains,
    }  # fmt: skip


def main() -> None:
    """Measure what is asked for and print one JSON line a case."""
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("--model", default="packaged:smollm2-135m-instruct")
    ask.add_argument("--shape", choices=[*SHAPES], help="a model of that shape, dummy weights")
    ask.add_argument("--memory", type=float, default=0.42, help="share of the GPU for an engine")
    for name, default in (("shards", 8), ("rows", 24), ("tokens", 48), ("workers", 4),
                          ("rounds", 3), ("judged", 6), ("words", 120), ("seqs", 32)):  # fmt: skip
        ask.add_argument(f"--{name}", type=int, default=default)
    ask.add_argument("--cases", nargs="+", default=["even", "spread", *STAGES])
    ask.add_argument("--serve")
    ask.add_argument("--spec")
    options = ask.parse_args()
    if options.serve:
        serve(options.serve, Paced.model_validate_json(options.spec))
        return
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:
        folder = Path(name)
        base: dict[str, Any] = {"model": options.model, "max_model_len": 2048}
        base["max_num_seqs"] = options.seqs  # far fewer than requests in flight, in every arm
        if not on_cpu():
            base["gpu_memory_utilization"] = options.memory
        if options.shape:
            shape = write_shape(options.shape, folder / "shape")
            base |= {"model": str(shape), "load_format": "dummy", "max_model_len": WINDOW}
        even = {"shortest": options.tokens, "longest": options.tokens}
        spread = {"shortest": options.tokens // 5, "longest": options.tokens * 4}
        for case in options.cases:
            if case in STAGES:
                print(json.dumps(measure_prefix(case, Paced(**base), options)), flush=True)
                continue
            spec = Paced(**base, **(spread if case == "spread" else even))
            raw = Server("raw", spec)
            print(json.dumps(measure(case, spec, raw, options, folder)), flush=True)
            raw.close()


if __name__ == "__main__":
    main()
