"""What vector stores' codecs keep of a search, on two files of paired embeddings: JSON.

    python bench/codecs.py A.npy B.npy [--rotations 20]

Row i of A belongs to row i of B; rows are normalised and compared by dot product. In each
direction: ``exact`` is float search; codecs are fitted on a seeded half of the rows of the stored
side (``own``), of the query side (``other``) or of both (``union``), never on the other half; every
row is stored and searched. ``r1`` is the share of queries whose partner comes first, ``kept`` the
share whose first answer is that of exact search. ``asymmetric`` compares float queries with codes,
``symmetric`` coded queries (by the same codec) with codes. Errors and range lints are those of the
half that was not fitted on.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any

import numpy as np

from isthmus.perturb.codecs import (
    Codec,
    coded_ranking,
    fit_codec,
    measure_error,
    range_lints,
    search_through,
)
from isthmus.search.scores import Ranking, top1

PLAIN = (
    "fp16",
    "bf16",
    "sq8",
    "sq6",
    "sq4",
    "int8",
    "bins-256",
    "bins-32",
    "sign",
    "rotated-sign",
    "rabitq",
    "rotated-rabitq",
    "pq64x4",
    "pq32x7",
)
RESCORED = 50
NOISE_SHARE = 0.6  # of the mean variance per dimension: RaBitQ's error, roughly


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows (n, d) float64 over their norms."""
    rows = rows.astype(np.float64)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def halves(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers to fit on and to measure errors on: a seeded split."""
    order = np.random.default_rng(0).permutation(count)
    return np.sort(order[: count // 2]), np.sort(order[count // 2 :])


class Direction:
    """One direction: queries (n, d), candidates (n, d), and their exact answers."""

    def __init__(self, queries: np.ndarray, candidates: np.ndarray) -> None:
        self.queries, self.candidates = queries, candidates
        self.exact = top1(Ranking.of(queries, candidates, "dot"))
        self.pairs = np.arange(len(queries))
        self.fit, self.rest = halves(len(queries))

    def marks(self, answers: np.ndarray) -> dict[str, float]:
        """Shares of answers (n,) that are the partner, and that are the exact answer."""
        return {
            "r1": float((answers == self.pairs).mean()),
            "kept": float((answers == self.exact).mean()),
        }

    def searched(
        self,
        codec: Codec,
        queries: np.ndarray | None = None,
        candidates: np.ndarray | None = None,
        bias: np.ndarray | None = None,
        query_codec: Codec | None = None,
    ) -> dict[str, float]:
        """Marks of the search through a codec."""
        ranking = coded_ranking(
            self.queries if queries is None else queries,
            self.candidates if candidates is None else candidates,
            codec,
            bias=bias,
            query_codec=query_codec,
        )
        return self.marks(top1(ranking))

    def calibration(self, on: str) -> np.ndarray:
        """Rows to fit on: half of the stored side, of the query side, or of both."""
        own, other = self.candidates[self.fit], self.queries[self.fit]
        return {"own": own, "other": other, "union": np.vstack([own, other])}[on]

    def codec(self, name: str) -> dict[str, Any]:
        """One codec: by what it was fitted on, coded queries, rescoring, and its error."""
        out: dict[str, Any] = {}
        for on in ("own", "other", "union") if not name.startswith("opq") else ("own",):
            codec = fit_codec(name, self.calibration(on))
            out[on] = self.searched(codec)
            if on == "own":
                out["bytes"] = codec.bytes_per_vector(self.candidates.shape[1])
                out["symmetric"] = self.searched(codec, query_codec=codec)
                out |= self.stages(codec) | self.error(codec)
                out["warning"] = getattr(codec, "warning", None)
            lints = range_lints(
                codec, {"stored": self.candidates[self.rest], "queries": self.queries[self.rest]}
            )
            for lint in lints:
                out[on][f"outside_{lint.modality}"] = lint.outside
                out[on][f"wrapped_{lint.modality}"] = lint.wrapped
        return out

    def stages(self, codec: Codec) -> dict[str, Any]:
        """Loss of R@1 and of recall@10 by coding, and what rescoring wins back."""
        found = search_through(self.queries, self.candidates, codec, k=10, rescored=RESCORED)
        first = found.losses(lambda rows: rows[:, 0] == self.pairs)
        ten = found.losses()
        return {
            f"rescored_{RESCORED}": self.marks(found.rescored[:, 0]),
            "loss_r1": {"codec": first.codec.mean(), "rescoring": first.rescoring.mean()},
            "loss_recall10": {"codec": ten.codec.mean(), "rescoring": ten.rescoring.mean()},
        }

    def error(self, codec: Codec) -> dict[str, Any]:
        """The error on stored rows that the codec was not fitted on."""
        rows = self.candidates[self.rest]
        e = measure_error(codec, rows)
        names = ("squared", "inner", "ratio", "correlation", "centred_ratio", "slope", "kind")
        found = {name: getattr(e, name) for name in names}
        found["share_of_variance"] = e.per_dimension / float(rows.var(axis=0).mean())
        return {"error": found, "words": e.words}

    def moves(self, fit: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray | None]]:
        """Ways to handle the gap before the codec: name -> queries, candidates, bias."""
        q, x = self.queries, self.candidates
        mq, mx = q[fit].mean(axis=0), x[fit].mean(axis=0)
        covariance = np.cov(x[fit].T, bias=True)
        noise = NOISE_SHARE * np.trace(covariance) / len(mx)
        shift = noise * np.linalg.solve(noise * np.eye(len(mx)) + covariance / 3, mq)
        return {
            "raw": (q, x, None),
            "candidates centred": (q, x - mx, None),
            "both centred, no bias": (q - mq, x - mx, None),
            "candidates moved by the gap, renormalised": (q, unit(x + mq - mx), None),
            "ridge query shift, candidates centred": (q - shift, x - mx, None),
            "query centred, stored bias, candidates centred": (q - mq, x - mx, x @ mq),
        }

    def table(self, name: str, fit: np.ndarray, **options: Any) -> dict[str, dict[str, float]]:
        """Every way to handle the gap through one codec, all fitted on the rows ``fit``."""
        return {
            way: self.searched(fit_codec(name, x[fit], **options), q, x, bias)
            for way, (q, x, bias) in self.moves(fit).items()
        }

    def rotations(self, seeds: int) -> dict[str, dict[str, float]]:
        """Mean and standard deviation over random rotations in front of RaBitQ."""
        runs = [self.table("rotated-rabitq", self.pairs, seed=s) for s in range(seeds)]
        return {
            way: {
                f"{mark}_{what}": float(how([run[way][mark] for run in runs]))
                for mark in ("r1", "kept")
                for what, how in _SPREAD.items()
            }
            for way in runs[0]
        }

    def undecoded(self) -> dict[str, dict[str, float]]:
        """int8 codes compared as numbers: queries coded with the stored ranges, with ranges of
        their own call, and left in float."""
        codec = fit_codec("int8-codes", self.candidates[self.fit])
        per_call = fit_codec("int8-codes", self.queries)
        stored_call = fit_codec("int8-codes", self.candidates)
        return {
            "queries with the stored ranges": self.searched(codec, query_codec=codec),
            "every call its own ranges": self.searched(stored_call, query_codec=per_call),
            "float queries": self.searched(codec),
        }

    def report(self, seeds: int) -> dict[str, Any]:
        """All of it."""
        every = self.pairs
        squares = np.sort((self.queries.mean(axis=0) - self.candidates.mean(axis=0)) ** 2)
        return {
            "exact": self.marks(self.exact),
            "share_of_squared_gap_in_5_coordinates": squares[-5:].sum() / squares.sum(),
            "codecs": {name: self.codec(name) for name in (*PLAIN, "opq32x7")},
            "fitted_on_all_it_stores": {
                name: self.searched(fit_codec(name, self.candidates)) for name in _if_enough(every)
            },
            "int8_undecoded": self.undecoded(),
            "rabitq": {
                "faiss default, query cut to 4 bits": self.table("rabitq", every, query_bits=4),
                "float queries": self.table("rabitq", every),
                "fitted on half, query cut to 4 bits": self.table("rabitq", self.fit, query_bits=4),
                f"{seeds} random rotations, float queries": self.rotations(seeds),
            },
        }


_SPREAD: dict[str, Callable[[list[float]], Any]] = {"mean": np.mean, "sd": np.std}


def _if_enough(rows: np.ndarray) -> tuple[str, ...]:
    return ("pq32x8",) if len(rows) >= 256 else ()


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return float(f"{value:.4g}") if isinstance(value, float | np.floating) else value


def main() -> int:
    """Print JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("a")
    parser.add_argument("b")
    parser.add_argument("--rotations", type=int, default=20)
    given = parser.parse_args()
    a, b = (unit(np.load(name, allow_pickle=False)) for name in (given.a, given.b))
    found = {
        "b_to_a": Direction(b, a).report(given.rotations),
        "a_to_b": Direction(a, b).report(given.rotations),
    }
    print(json.dumps(_rounded(found), indent=2, ensure_ascii=False))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
