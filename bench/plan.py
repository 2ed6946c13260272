"""Does a storage plan keep what it says on unseen queries? The table of ``docs/plan.md``.

    python bench/plan.py [A.npy B.npy]
    python bench/plan.py --measure recall A.npy B.npy
    python bench/plan.py --sizes

Without files it takes rows made up: two clouds with a gap, and two without. Each of 20 seeds splits
queries and calibration rows anew. A line counts, per target, in how many of the splits that found a
code the held-out queries kept the target, and the mean bytes of a vector. ``--sizes`` shows what
the number of candidates does: first answers kept by two codes, among more and more of one gallery.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from isthmus.workflows.storage import StorageLine, StoragePlan, plan

TARGETS = (0.9, 0.95, 0.98, 0.99)


def made(gap: float) -> tuple[np.ndarray, np.ndarray]:
    """1,000 pairs in 64 dimensions whose means are ``gap`` apart before they are scaled."""
    rng = np.random.default_rng(1)
    scale = 1 / np.sqrt(1 + np.arange(64) / 4)
    content = rng.normal(size=(1000, 64)) * scale
    axis = gap * np.linalg.norm(scale) * rng.normal(size=64) / 8
    a, b = (content + 0.4 * rng.normal(size=content.shape) * scale + s * axis for s in (1, -1))
    return a, b


def chosen(found: StoragePlan, target: float) -> Iterator[StorageLine | None]:
    """The four choices for another target, from what was measured for one."""
    lines = [replace(x, meets=x.validation - x.margin >= target) for x in found.lines]
    for by_code in (False, True):
        for plain in (True, False):
            yield next(
                (
                    x
                    for x in lines
                    if x.meets and (x.closer == "none") == plain and not (by_code and x.depth)
                ),
                None,
            )


def table(
    name: str, queries: np.ndarray, candidates: np.ndarray, given: argparse.Namespace
) -> None:
    """Print the lines of one input."""
    plans = [
        plan(queries, candidates, measure=given.measure, seed=seed) for seed in range(given.splits)
    ]
    for target in TARGETS:
        cells = []
        for choice in zip(*(chosen(p, target) for p in plans), strict=True):
            lines = [x for x in choice if x is not None]
            kept = sum(x.test >= target for x in lines)
            size = np.mean([x.bytes_per_vector for x in lines]) if lines else np.nan
            cells.append(f"{kept} of {len(lines)}, {size:.0f} B" if lines else "none")
        print("|", " | ".join([name, given.measure, f"{target:g}", *cells]), "|", flush=True)


def sizes() -> None:
    """Print first answers kept among 500 to 8,000 of the same made rows."""
    rng = np.random.default_rng(2)
    scale = 1 / np.sqrt(1 + np.arange(64) / 4)
    items = rng.normal(size=(8000, 64)) * scale
    asks = items[:500] + 1.5 * rng.normal(size=(500, 64)) * scale
    print("| candidates | sign, best 10 | sign, best 50 | rabitq2, by code | rabitq2, best 10 |")
    print("|---" * 5 + "|")
    for size in (500, 1000, 2000, 4000, 8000):
        found = plan(
            asks, items[:size], codecs=["sign", "rabitq2"], closers=["none"], depths=[0, 10, 50]
        )
        kept = {(x.codec, x.depth): (x.validation + x.test) / 2 for x in found.lines}
        shown = (("sign", 10), ("sign", 50), ("rabitq2", 0), ("rabitq2", 10))
        print("|", " | ".join([f"{size:,}", *(f"{kept[key]:.3f}" for key in shown)]), "|")


def main() -> int:
    """Print Markdown."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("files", nargs="*", metavar="A.npy B.npy")
    parser.add_argument("--measure", default="agreement", choices=("agreement", "recall"))
    parser.add_argument("--splits", type=int, default=20)
    parser.add_argument("--sizes", action="store_true")
    given = parser.parse_args()
    if given.sizes:
        sizes()
        return 0
    head = ("rows", "measure", "target", "as it is", "with a closing")
    print("|", " | ".join([*head, "as it is, by code", "with a closing, by code"]), "|")
    print("|---" * 7 + "|")
    if len(given.files) == 2:
        a, b = (np.load(name, allow_pickle=False) for name in given.files)
        table("A asks B", a, b, given)
        table("B asks A", b, a, given)
    elif given.files:
        parser.error("name two files, A.npy and B.npy, or none")
    else:
        table("made, gap", *made(1.0), given)
        table("made, no gap", *made(0.0), given)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
