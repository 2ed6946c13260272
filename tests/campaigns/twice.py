"""Two runs at once on one output: whole sets of one of them, or a refusal in words."""

from __future__ import annotations

import random
import shutil
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

from campaigns.jobs import JOBS, Field, Job, contents, field, stale


def run(rounds: int, folder: Path, seed: int = 0, jobs: tuple[Job, ...] = JOBS) -> Counter[str]:
    """``rounds`` pairs of runs per command; ``apply`` with two closers, so that sets could mix."""
    draw = random.Random(seed)
    with field(folder, rows=20_000) as at:
        for job in jobs:
            _pairs(job, rounds, at, draw)
    return at.found


def _pairs(job: Job, rounds: int, at: Field, draw: random.Random) -> None:
    other, found = job, at.found
    if job.name == "apply":
        other = replace(job, words=job.words.replace("closer.", "other."))
    sets = [at.whole(job), at.whole(other, "-other")]
    for number in range(rounds):
        out = at.folder / f"out-{job.name}-{number}"
        out.mkdir()
        pair = []
        for one in (job, other):
            pair.append(at.commands.start(one.command(at.inputs, out)))
            time.sleep(draw.choice((0.0, 0.0, 0.1, 0.5)))
        said = [process.ended() for process in pair]
        found["pairs of runs"] += 1
        for code, err in said:
            refused = code == 1 and "another run" in err
            found["second runs refused in words"] += refused
            found["runs that failed otherwise"] += code != 0 and not refused
            found["tracebacks"] += "Traceback" in err
        here = contents(out)
        outputs = {name: here.get(name) for name in job.outputs}
        found["sets that are of no one run"] += outputs not in sets
        found["stale files"] += len(stale(here, job, journals=False))
        shutil.rmtree(out)
