"""``deploy`` killed at 20 points on each store: nothing is lost, nothing written twice."""

from __future__ import annotations

import gc
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import isthmus as im
from deploy.stores import killed
from deploy.stores.kinds import KINDS, NORMALISED, scores_of
from deploy.stores.worlds_of_stores import world
from isthmus.deploy.stores.placement import Placement

Point = tuple[str, int, str]
"""A method of the store, how many calls of it into a run, and when: see ``killed.py``."""
NEVER: Point = ("put", 0, "0")


def points(count: int, draw: random.Random) -> list[Point]:
    """Kills around the making, the batches and the end, in the order in which runs meet them."""

    def soon() -> str:
        return str(draw.uniform(0, 0.003))  # a batch of a local store takes about as long

    begin: list[Point] = [("prepare", 1, soon()), ("prepare", 1, "after")]
    end: list[Point] = [("finish", 1, "0"), ("finish", 1, soon())]
    batches: list[Point] = [
        ("put", 2, ("0", "after", soon())[i % 3]) for i in range(count - len(begin) - len(end))
    ]
    return [*begin, *batches, *end]


def run_store(name: str, address: str, folder: Path, at: Sequence[Point]) -> Counter[str]:
    """Kill one deployment again and again, let it through, and look at what is there."""
    gc.collect()  # stores of earlier tests, which lock their folders while they are open
    queries, candidates = world()
    closer = im.fit("center-both", queries, candidates)
    closer.save(folder / "closer.safetensors")
    journal, out, found = folder / "written.txt", folder / "out", Counter[str]()
    journal.touch()
    script = [sys.executable, killed.__file__, str(folder / "closer.safetensors"), address]
    for point in [*at, NEVER]:
        words = [*script, str(out), str(journal), *map(str, point)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        found["kills"] += done.returncode == -9
        found["runs that ended before"] += point != NEVER and done.returncode == 0
        found["runs that failed"] += done.returncode not in (0, -9)
    written = journal.read_text(encoding="utf-8").split()
    place = Placement.of(closer, address, killed.COLUMN, out)
    rows, expected = place.target.rows(), place.form.stored(candidates)[0]
    found["items written twice"] += len(written) - len(set(written))
    found["items lost"] += killed.ROWS - len(set(map(str, rows.ids)))
    near = 1e-6 if name in NORMALISED else 0
    wrong = np.abs(rows.read() - expected).max(axis=1) > near
    found["vectors that are wrong"] += int(wrong.sum())
    found["columns that are not marked complete"] += not place.target.need_mark().complete
    place.target.undo()
    return found


def run(count: int, folder: Path, names: Sequence[str] = tuple(KINDS), seed: int = 0) -> Counter:
    """Every store that is installed here."""
    found = Counter[str]()
    for name in names:
        here = folder / name.replace(" ", "-")
        here.mkdir(parents=True)
        try:
            fill = KINDS[name](here)
        except ImportError:
            found["stores that are not installed"] += 1
            continue
        address = fill(world()[1], scores_of(name)[0])
        found["stores"] += 1
        one = run_store(name, address, here, points(count, random.Random(seed)))
        print(name, dict(one), file=sys.stderr, flush=True)
        found.update(one)
    return found
