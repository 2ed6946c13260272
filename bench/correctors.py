"""What correctors did on paired embeddings: the figures of ``docs/correctors.md``, as JSON.

    python bench/correctors.py NAME=PAIRS.npy NAME=A.npy,B.npy … [--splits 20] [--emoji]

A file is an array of pairs (2, n, d), or two files have a side each; row i of one side belongs to
row i of the other. ``--emoji`` adds the built-in model: Google's drawings and English names.

Bank queries that equal a scored one (captions repeat) are dropped from the bank. Everything is by
cosine, the mean over seeded splits:

    r1     share of scored queries whose partner comes first; ``gain`` is its change by the
           corrector, ``gain_sd`` the standard deviation of the change over splits
    clean  share of scored queries whose first answer is that of plain search
    skew   hubness: skewness of how often a candidate is among the 10 best

    halves     a half of the queries is the bank, the other half is scored, and candidates are the
               partners of the scored ones
    strangers  thirds: a third is the bank, a third is scored, and candidates are the partners of
               the scored third and of the last third
    partners   the same bank and scored third, but candidates are the partners of the scored third
               and of the *bank*. These are wrong answers that the bank knows and pushes down: what
               ``gain`` has over ``strangers`` is flattery
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import numpy as np

from isthmus.search.correctors import fit_corrector, shared_rows
from isthmus.search.scores import Ranking, TopK, top_k

NEAR = 10
SETTINGS = ("halves", "strangers", "partners")
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "csls": ("csls", {}),
    "nnn": ("nnn", {}),
    "inverted-softmax": ("inverted-softmax", {}),
    "inverted-softmax beta=100": ("inverted-softmax", {"beta": 100.0}),
    "dynamic-inverted-softmax": ("dynamic-inverted-softmax", {}),
}


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows (n, d) float64 over their norms."""
    rows = rows.astype(np.float64)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def emoji() -> tuple[np.ndarray, np.ndarray]:
    """Drawings and names of every emoji, (n, 128) each."""
    from isthmus.encoders import load_encoder
    from isthmus.encoders.emoji_world import load_world

    world, encoder = load_world(), load_encoder("emoji")
    return (
        unit(encoder.encode_images(world.pictures("google"))),
        unit(encoder.encode_texts(world.texts())),
    )


def skewness(found: TopK, count: int) -> float:
    """Skewness of how often each of ``count`` candidates is among the answers."""
    often = np.bincount(found.rows.ravel(), minlength=count).astype(float)
    often -= often.mean()
    return float((often**3).mean() / often.std() ** 3)


def split_of(count: int, setting: str, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of the bank, of the scored queries, and of the candidates, scored partners first."""
    order = np.random.default_rng(seed).permutation(count)
    if setting == "halves":
        bank, scored = order[: count // 2], order[count // 2 :]
        return bank, scored, scored
    bank, scored, rest = order[: count // 3 * 3].reshape(3, -1)
    return bank, scored, np.concatenate([scored, bank if setting == "partners" else rest])


def one_split(
    queries: np.ndarray, candidates: np.ndarray, setting: str, seed: int
) -> dict[str, dict[str, float]]:
    """r1, clean and skew of plain search and of every variant."""
    bank, scored, stored = split_of(len(queries), setting, seed)
    known = shared_rows(queries[scored], queries[bank])
    ranking = Ranking.of(queries[scored], candidates[stored], "cosine")
    plain = top_k(ranking, NEAR)

    def figures(found: TopK) -> dict[str, float]:
        return {
            "r1": float((found.rows[:, 0] == np.arange(len(scored))).mean()),
            "clean": float((found.rows[:, 0] == plain.rows[:, 0]).mean()),
            "skew": skewness(found, len(stored)),
        }

    out = {"none": figures(plain)}
    for title, (name, options) in VARIANTS.items():
        rows = candidates[stored], np.delete(queries[bank], known, axis=0)
        corrector = fit_corrector(name, *rows, score="cosine", scored=queries[scored], **options)
        out[title] = figures(corrector.search(ranking, NEAR))
    return out


def over_splits(
    queries: np.ndarray, candidates: np.ndarray, splits: int, setting: str = "halves"
) -> dict[str, dict[str, float]]:
    """Means over seeded splits, with the change of r1 and its spread."""
    runs = [one_split(queries, candidates, setting, seed) for seed in range(splits)]
    table = {}
    for title in runs[0]:
        change = np.array([run[title]["r1"] - run["none"]["r1"] for run in runs])
        table[title] = {
            key: float(np.mean([run[title][key] for run in runs]))
            for key in ("r1", "clean", "skew")
        }
        table[title] |= {"gain": float(change.mean()), "gain_sd": float(change.std(ddof=1))}
    return table


def rounded(value: Any) -> Any:
    """Three digits of every float."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    return round(value, 3) if isinstance(value, float) else value


def main() -> int:
    """Print JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="*", metavar="NAME=FILE")
    parser.add_argument("--emoji", action="store_true")
    parser.add_argument("--splits", type=int, default=20)
    given = parser.parse_args()
    sides = {}
    for entry in given.data:
        name, _, files = entry.partition("=")
        loaded = [np.load(file, allow_pickle=False) for file in files.split(",")]
        a, b = loaded[0] if len(loaded) == 1 else loaded
        sides[name] = unit(a), unit(b)
    if given.emoji:
        sides["emoji"] = emoji()
    if not sides:
        parser.error("name data as NAME=PAIRS.npy or NAME=A.npy,B.npy, or say --emoji")
    report: dict[str, Any] = {"splits": given.splits}
    for name, (a, b) in sides.items():
        report[name] = {"pairs": len(a)} | {
            direction: {setting: over_splits(q, c, given.splits, setting) for setting in SETTINGS}
            for direction, q, c in (("a_to_b", a, b), ("b_to_a", b, a))
        }
    print(json.dumps(rounded(report), indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
