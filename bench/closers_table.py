"""What every closer did on paired embeddings: the figures of ``docs/closers``, as JSON.

    python bench/closers_table.py NAME=PAIRS.npy NAME=A.npy,B.npy NAME=PAIRS.npy:20 --held-out NAME

A file is an array of pairs (2, n, d), or two files have a side each; row i of one side belongs to
row i of the other. ``:20`` keeps the first 20 rows of the side that is searched (few candidates, as
class texts are), all rows of the other side asking; there is no R@1 then. Rows are normalised.

For each direction (``a_to_b``: rows of A ask) and every closer, under every score it takes:

    r1         share of queries whose partner comes first, without noise
    clean      share whose first answer is that of plain search by the same score
    noise      share whose answer survives Gaussian noise on stored rows, E‖ε‖² = .022: consistency
    noise_each the same with every stored coordinate's variance at .022/d, where a closer stores
               fewer than d coordinates (elsewhere the two are one)
    rabitq_r1  r1 where stored rows are kept by FAISS's RaBitQ (1 bit, queries cut to 4 bits)
    rabitq     share whose first answer is then that of plain float search
    bytes      of the coded vector
    floats     kept per candidate beside it
    dims       coordinates of the stored vector

A cosine closer's rows are normalised before they are coded. ``fit`` is ``all`` where closers are
fitted on the rows they are scored on, RaBitQ's centre too. For data named by ``--held-out`` there
are also rows with ``half``: the queries' moments (and pairs) come from a seeded half of the queries
and the other half is scored; candidates are known in full when a store is filled.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from isthmus.closers import METHODS, fit
from isthmus.closers.closer import Closer
from isthmus.data.moments import Moments, PairMoments
from isthmus.errors import OptionError
from isthmus.perturb.codecs import coded_ranking, fit_codec
from isthmus.robustness import (
    ClosedSearch,
    Perturbation,
    closed_searches,
    measure_perturbation,
    trials_for,
)
from isthmus.search.relevance import no_relevance, relevance_by_pairs
from isthmus.search.scores import SCORES, top1
from isthmus.search.task import RetrievalTask

LEVEL = 0.022
SEED = 0
VARIANTS: dict[str, list[dict[str, Any]]] = {
    "orthogonal-shift": [{}, {"variance": 0.95}],
    "biased-shift": [{}, {"side": "candidate"}],
    "span": [{}, {"variance": 0.95}],
    "subspace": [{}, {"variance": 0.95}],
    "low-rank-memo": [{}, {"rank": 1}, {"rank": 8}],
    "ridge-shift": [{}, {"ridge": 3.0}],
    "mean-shift": [{}, {"side": "candidate", "renormalise": False}],
    "centering": [{}, {"renormalise": False}],
}
"""Options beside the defaults."""


@dataclass(frozen=True)
class Data:
    """Two sides of pairs, unit rows (n, d) each; ``few`` candidates, or all."""

    name: str
    a: np.ndarray
    b: np.ndarray
    few: int | None

    @classmethod
    def read(cls, words: str) -> Data:
        """NAME=FILE[,FILE][:COUNT]."""
        name, _, files = words.partition("=")
        files, _, count = files.partition(":")
        parts = [np.load(file, allow_pickle=False) for file in files.split(",")]
        sides = parts[0] if len(parts) == 1 else parts
        a, b = (unit(side.reshape(len(side), -1)) for side in sides)
        return cls(name, a, b, int(count) if count else None)

    def task(self, direction: str, asked: np.ndarray) -> RetrievalTask:
        """One direction, with the queries ``asked``."""
        q, c = (self.a, self.b) if direction == "a_to_b" else (self.b, self.a)
        every = np.arange(len(c))
        if self.few is None:
            relevance = relevance_by_pairs(len(q), len(c)).restricted(asked, every)
        else:
            c, every = c[: self.few], every[: self.few]
            relevance = no_relevance(len(asked), self.few)
        return RetrievalTask.of(
            q[asked],
            c,
            relevance,
            direction=direction,
            candidate_calibration=every,
            query_calibration=np.arange(len(asked)),
        )


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows over their norms, float64."""
    rows = rows.astype(np.float64)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def closers(
    queries: np.ndarray, candidates: np.ndarray, partners: np.ndarray
) -> Iterator[tuple[dict[str, Any], Closer]]:
    """Every closer under every score it takes; ``partners`` (n, d) belong to the queries."""
    moments = Moments.of(queries, precise=True), Moments.of(candidates, precise=True)
    extra = {
        "procrustes": {"pairs": PairMoments.of(queries, partners, precise=True)},
        "realign": {"query_rows": queries},
    }
    for name in METHODS:
        for options in VARIANTS.get(name, [{}]):
            seen = set()
            for score in SCORES:
                try:
                    closer = fit(name, *moments, score=score, **options, **extra.get(name, {}))
                except OptionError:
                    continue
                if closer.score not in seen:  # cosine of unit rows becomes dot, or euclidean
                    seen.add(closer.score)
                    yield options, closer


def coded(search: ClosedSearch) -> tuple[np.ndarray, float]:
    """Answers where the stored part of candidates is kept by RaBitQ, as FAISS ranks by default,
    and the bytes of a code."""
    q, c, score = search.queries, search.candidates, search.score
    if score == "cosine":
        q, c, score = unit(q), unit(c), "dot"
    dim = search.stored_dims
    codec = fit_codec("rabitq", c[:, :dim], query_bits=4)
    ranking = coded_ranking(q, c, codec, score=score, bias=search.bias, stored=dim)
    return top1(ranking), codec.bytes_per_vector(dim)


def direction_rows(data: Data, direction: str, held_out: bool) -> Iterator[dict[str, Any]]:
    """A row per closer and score of one direction."""
    q, partners = (data.a, data.b) if direction == "a_to_b" else (data.b, data.a)
    fitted = asked = np.arange(len(q))
    if held_out:
        order = np.random.default_rng(SEED).permutation(len(q))
        fitted, asked = np.sort(order[: len(q) // 2]), np.sort(order[len(q) // 2 :])
    task = data.task(direction, asked)
    found = list(closers(q[fitted], task.candidates, partners[fitted]))
    searches = closed_searches(task, [closer for _, closer in found])
    trials = trials_for(len(q), len(task.candidates))
    perturbation = Perturbation("gaussian", "candidates", LEVEL, "total")
    results = measure_perturbation(task, searches, perturbation, trials=trials, seed=SEED)
    shorter = [search for search in searches if search.stored_dims < q.shape[1]]
    each = Perturbation("gaussian", "candidates", LEVEL / q.shape[1], "coordinate")
    same_sigma = {
        id(result.search): float(result.kept.mean())
        for result in measure_perturbation(task, shorter, each, trials=trials, seed=SEED)
    }
    known = task.relevance.judged.any()
    for (options, closer), search, result in zip(found, searches, results, strict=True):
        kept, size = coded(search)
        yield {
            "data": data.name,
            "fit": "half" if held_out else "all",
            "direction": direction,
            "closer": closer.name,
            "options": options,
            "score": closer.score,
            "guarantee": closer.guarantee.kind,
            "bound": closer.guarantee.bound,
            "r1": float(task.relevance.correct(search.clean_top1).mean()) if known else None,
            "clean": float(search.clean_agreement.mean()),
            "noise": float(result.kept.mean()),
            "noise_each": same_sigma.get(id(search)),
            "rabitq_r1": float(task.relevance.correct(kept).mean()) if known else None,
            "rabitq": float((kept == search.today_top1).mean()),
            "bytes": size,
            "floats": search.floats_per_candidate,
            "dims": search.stored_dims,
            "trials": trials,
        }


def _rounded(value: Any) -> Any:
    """Four digits: shares of 500 queries need three."""
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return float(f"{value:.4f}") if isinstance(value, float) else value


def main() -> int:
    """Print one JSON document: names of columns, and a line per row."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", nargs="+", metavar="NAME=FILE")
    parser.add_argument("--held-out", action="append", default=[], metavar="NAME")
    given = parser.parse_args()
    rows = []
    for words in given.data:
        data = Data.read(words)
        for held_out in (False, True)[: 1 + (data.name in given.held_out)]:
            for direction in ("a_to_b", "b_to_a"):
                print(f"{data.name} {direction} {held_out=}", file=sys.stderr, flush=True)
                rows += [_rounded(row) for row in direction_rows(data, direction, held_out)]
    about = {
        "level": LEVEL,
        "convention": "total",
        "seed": SEED,
        "data": {
            words.partition("=")[0]: [file.rpartition("/")[2] for file in files]
            for words in given.data
            for files in [words.partition("=")[2].split(",")]
        },
        "codec": "FAISS RaBitQ, queries cut to 4 bits",
    }
    columns = json.dumps(list(rows[0]))
    lines = ",\n".join(json.dumps(list(row.values()), separators=(",", ":")) for row in rows)
    print(f'{{"about": {json.dumps(about)},\n"columns": {columns},\n"rows": [\n{lines}\n]}}')
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
