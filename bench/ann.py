"""Approximate indexes across the gap: the figures of ``docs/ann.md``, as JSON.

    python bench/ann.py A.npy B.npy
    python bench/ann.py --emoji

Row i of A (images) belongs to row i of B (captions); ``--emoji`` takes the built-in model, Google's
drawings and English names. In each direction a seeded fifth of the candidates is held out of the
index and asks as the control; closers are fitted on a seeded half of the queries and on the stored
rows, the other half of the queries asks. ``recall`` is ``index_recall``, ``work`` the distances to
recall .95 read off it, ``shift`` is ``query_shift``, ``even`` the same recall in a cosine store and
``coded`` with rows kept as sq4 and the top 50 ranked again.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import numpy as np

from bench.mixed import emoji, rounded, unit
from isthmus.closers import fit
from isthmus.data.moments import Moments
from isthmus.robustness.ann import held_out, index_recall, query_shift, work_at
from isthmus.search.opening import open_task

SEED = 0
METHODS = ("none", "center-queries", "center-both", "biased-shift", "mean-shift", "centering")
ONE_EFFORT = {"efSearch": (16,), "nprobe": (4,)}


def direction(queries: np.ndarray, candidates: np.ndarray) -> dict[str, Any]:
    """All figures of one direction."""
    order = np.random.default_rng(SEED).permutation(len(queries))
    on, rest = order[: len(order) // 2], order[len(order) // 2 :]
    task = open_task(queries[rest], candidates, paired=False)
    task, own = held_out(task, seed=SEED)
    moments = Moments.of(queries[on], precise=True), Moments.of(task.candidates, precise=True)
    closers = {name: fit(name, *moments) for name in METHODS}
    table = index_recall(task, own, closers, seed=SEED)
    return {
        "recall": table,
        "work": work_at(table, 0.95),
        "shift": query_shift(task, own, closers, seed=SEED),
        "even": index_recall(task, own, closers, efforts=ONE_EFFORT, even=True, seed=SEED),
        "coded": index_recall(
            task, own, closers, efforts=ONE_EFFORT, codec="sq4", rescored=50, seed=SEED
        ),
    }


def main() -> int:
    """Print JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", metavar="A.npy B.npy")
    parser.add_argument("--emoji", action="store_true")
    given = parser.parse_args()
    if given.emoji:
        a, b, _ = emoji()
    elif len(given.files) == 2:
        a, b = (unit(np.load(name, allow_pickle=False)) for name in given.files)
    else:
        parser.error("name two files, A.npy and B.npy, or say --emoji")
    found = {"b_to_a": direction(b, a), "a_to_b": direction(a, b)}
    print(json.dumps(rounded(found), indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
