"""One pool of texts and images, as the mixture changes: the figures of ``docs/mixed.md``, as JSON.

    python bench/mixed.py A.npy B.npy [--draws 20]
    python bench/mixed.py --emoji [--draws 20]

Row i of A (images) belongs to row i of B (captions). Closings are fitted on a seeded half of the
pairs, the other half is the corpus; document i is asked for by the form that is not stored.
``--emoji`` takes the built-in model instead, Google's drawings and English names, and asks by the
tags alone ("adorbs, animal, dog"), a third row for each document that has any. ``verdict`` is what
``isthmus mixed`` says, with a strength chosen on one half; its halves are others than the curve's.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import numpy as np

import isthmus as im
from isthmus.data.moments import Moments
from isthmus.robustness.mixed import cross_cost, mixed_curve, pool_closers

SEED = 0
STRENGTHS = (0.5, 1.0, 2.0)
"""Of standardised levelling; 0 is ``center-both, levelled``."""


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows (n, d) float64 over their norms."""
    rows = rows.astype(np.float64)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def emoji() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Drawings, names and tags of every emoji that has tags, (n, 128) each."""
    from isthmus.encoders import load_encoder
    from isthmus.encoders.emoji_world import load_world

    world, encoder = load_world(), load_encoder("emoji")
    images = encoder.encode_images(world.pictures("google"))
    names = encoder.encode_texts(world.texts())
    tagged = np.flatnonzero([bool(tags) for tags in world.tags])
    tags = encoder.encode_texts([", ".join(world.tags[i]) for i in tagged])
    return unit(images)[tagged], unit(names)[tagged], unit(tags)


def report(a: np.ndarray, b: np.ndarray, queries: np.ndarray | None, draws: int) -> dict[str, Any]:
    """Curve and cost; fitted on one half, scored on the other."""
    order = np.random.default_rng(SEED).permutation(len(a))
    on, rest = order[: len(a) // 2], order[len(a) // 2 :]
    moments = Moments.of(a[on], precise=True), Moments.of(b[on], precise=True)
    asking = {} if queries is None else {"b": Moments.of(queries[on], precise=True)}
    closings = pool_closers(*moments, asking=asking, strengths=STRENGTHS)
    asked = None if queries is None else queries[rest]
    return {
        "pairs": {"fitted_on": len(on), "corpus": len(rest)},
        "draws": draws,
        "curve": mixed_curve(a[rest], b[rest], closings, queries=asked, draws=draws, seed=SEED),
        "cross_modal": cross_cost(a[rest], b[rest], pool_closers(*moments), seed=SEED),
        "verdict": im.mixed(queries, a, b, draws=draws, seed=SEED).to_dict(),
    }


def rounded(value: Any) -> Any:
    """Four digits of every float."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def main() -> int:
    """Print JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", metavar="A.npy B.npy")
    parser.add_argument("--emoji", action="store_true")
    parser.add_argument("--draws", type=int, default=20)
    given = parser.parse_args()
    if given.emoji:
        a, b, queries = emoji()
    elif len(given.files) == 2:
        a, b = (unit(np.load(name, allow_pickle=False)) for name in given.files)
        queries = None
    else:
        parser.error("name two files, A.npy and B.npy, or say --emoji")
    print(json.dumps(rounded(report(a, b, queries, given.draws)), indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
