"""What a benchmark holds: questions and gold answers, from a user's file or from the hub."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from curate.errors import ConfigError, CurateError, InputError, did_you_mean
from curate.hub import COMMIT, at_commit, bars_for_a_terminal, not_given
from curate.methods.benchmark_list import Benchmark

Speaker = Literal["user", "assistant"]
SPEAKERS: Mapping[Speaker, tuple[str | None, ...]] = {
    "user": (None, "user", "human"),
    "assistant": (None, "assistant", "gpt"),
}
"""What conversations call those whose turns are questions, or gold answers."""


class Texts(NamedTuple):
    """Texts of items: `texts` (n) and the item each belongs to, counted from 1 (n)."""

    texts: pa.Array
    item: list[int]


class Items(NamedTuple):
    """What a benchmark holds. `digest` covers all texts."""

    size: int
    questions: Texts
    answers: Texts
    digest: str


def load(benchmark: Benchmark) -> Items:
    """Return the benchmark's items; read once a process as long as the file stays the same.

    Raises InputError for a file that cannot be read or has no items, ConfigError for a column that
    is not there or holds no text in any item, or what the hub refuses, and StageError for a hub
    that cannot be reached.
    """
    if benchmark.path is None:
        return _load(benchmark, (0, 0))
    try:
        stat = Path(benchmark.path).stat()
    except OSError as error:
        raise InputError(
            f"benchmark {benchmark.name!r}: cannot read {benchmark.path}: {error.strerror}"
        ) from None
    return _load(benchmark, (stat.st_mtime_ns, stat.st_size))


@lru_cache(maxsize=256)
def _load(benchmark: Benchmark, state: tuple[int, int]) -> Items:
    questions: list[str] = []
    answers: list[str] = []
    of_question: list[int] = []
    of_answer: list[int] = []
    digest = hashlib.sha256()
    size = 0
    first: Mapping[str, Any] = {}
    rows = _file_rows(benchmark) if benchmark.path is not None else _hub_rows(benchmark)
    for size, row in enumerate(rows, 1):
        first = first or row
        found = _field(row, benchmark.column, benchmark, size, "user")
        name = benchmark.answers
        gold = _field(row, name, benchmark, size, "assistant") if name else []
        questions += found
        of_question += [size] * len(found)
        answers += gold
        of_answer += [size] * len(gold)
        digest.update(orjson.dumps([found, gold]))
    if not size:
        raise InputError(
            f"benchmark {benchmark.name!r}: {benchmark.path or benchmark.hub} is empty"
        )
    for column, texts in ((benchmark.column, questions), (benchmark.answers, answers)):
        if column and not any(text.strip() for text in texts):
            raise ConfigError(
                f"benchmark {benchmark.name!r}: column {column!r} holds no text in any of its "
                f"{size} items, but for example {_shown(first[column])}; name a column of texts, "
                "lists of texts or conversations"
            )
    return Items(
        size,
        Texts(pa.array(questions, pa.large_string()), of_question),
        Texts(pa.array(answers, pa.large_string()), of_answer),
        digest.hexdigest(),
    )


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _field(
    row: Mapping[str, Any], column: str, benchmark: Benchmark, number: int, speaker: Speaker
) -> list[str]:
    if column not in row:
        hint = did_you_mean(column, row)
        raise ConfigError(
            f"benchmark {benchmark.name!r}, item {number}: no column {column!r}{hint}"
        )
    return list(texts_in(row[column], speaker))


def texts_in(value: object, speaker: Speaker = "user") -> Iterator[str]:
    """Yield the texts in a string, a list, or a conversation, of which only the speaker's turns.

    A turn is {role, content} or {from, value}; {text} without a role is a text.
    """
    if isinstance(value, str):
        # A lone surrogate has no UTF-8 form.
        yield value.encode("utf-8", "replace").decode()
    elif isinstance(value, Mapping):
        if value.get("role", value.get("from")) in SPEAKERS[speaker]:
            for key in ("content", "value", "text"):
                yield from texts_in(value.get(key), speaker)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from texts_in(part, speaker)


def _file_rows(benchmark: Benchmark) -> Iterator[Mapping[str, Any]]:
    path = Path(str(benchmark.path))
    suffixes = [suffix.lower() for suffix in path.suffixes]
    packed = bool(suffixes) and suffixes[-1] == ".gz"
    kind = suffixes[-2] if packed and len(suffixes) > 1 else suffixes[-1] if suffixes else ""
    try:
        if kind == ".parquet":
            yield from _parquet_rows(path, benchmark)
            return
        data = gzip.decompress(path.read_bytes()) if packed else path.read_bytes()
        if kind == ".txt":
            for line in data.decode("utf-8-sig").splitlines():
                yield {benchmark.column: line}
        elif kind in (".json", ".jsonl"):
            yield from _json_rows(data.removeprefix(b"\xef\xbb\xbf"), benchmark)
        else:
            raise InputError(
                f"benchmark {benchmark.name!r}: {path} is none of .jsonl, .json, .parquet, .txt"
            )
    except (OSError, EOFError, ValueError, pa.ArrowException) as error:
        raise InputError(f"benchmark {benchmark.name!r}: cannot read {path}: {error}") from None


def _parquet_rows(path: Path, benchmark: Benchmark) -> Iterator[Mapping[str, Any]]:
    wanted = {benchmark.column, benchmark.answers}
    with pq.ParquetFile(path) as file:
        columns = [name for name in file.schema_arrow.names if name in wanted]
        if not wanted - {None} <= set(columns):
            hint = did_you_mean(benchmark.column, file.schema_arrow.names)
            missing = ", ".join(sorted(str(n) for n in wanted - {None} - set(columns)))
            raise ConfigError(f"benchmark {benchmark.name!r}: no column {missing}{hint}")
        for batch in file.iter_batches(columns=columns):
            yield from batch.to_pylist()


def _json_rows(data: bytes, benchmark: Benchmark) -> Iterator[Mapping[str, Any]]:
    if data.lstrip().startswith(b"["):
        rows = orjson.loads(data)
    else:
        rows = (orjson.loads(line) for line in data.splitlines() if line.strip())
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise InputError(f"benchmark {benchmark.name!r}, item {number}: not a JSON object")
        yield row


def _hub_rows(benchmark: Benchmark) -> Iterator[Mapping[str, Any]]:
    try:
        with bars_for_a_terminal():
            found = _hub_dataset(benchmark)
    except CurateError:
        raise  # of another commit: the advice below would not help
    except Exception as error:  # the hub's client raises errors of several libraries
        raise not_given(
            f"benchmark {benchmark.name!r}: cannot fetch {benchmark.hub} from the Hugging Face "
            f"hub ({type(error).__name__}); go online (and log in where it is gated), or name "
            f"a local copy: {{name: {benchmark.name}, path: FILE, column: {benchmark.column}}}",
            error, ConfigError,
        ) from error  # fmt: skip
    wanted = [name for name in (benchmark.column, benchmark.answers) if name]
    yield from found.select_columns([name for name in wanted if name in found.column_names])


def _hub_dataset(benchmark: Benchmark) -> Any:
    import datasets

    hub, revision, split = str(benchmark.hub), benchmark.revision, benchmark.split
    if benchmark.data_file is not None:
        at = f"@{revision}" if revision else ""
        files = {split: f"hf://datasets/{hub}{at}/{benchmark.data_file}"}
        return datasets.load_dataset(path="json", data_files=files, split=split)
    if revision is not None and COMMIT.fullmatch(revision):
        return at_commit(hub, benchmark.config, split, revision)
    return datasets.load_dataset(path=hub, name=benchmark.config, split=split, revision=revision)
