"""Two runs at once on one output: whole sets of one of them, or a refusal in words."""

from __future__ import annotations

import random
import shutil
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

from campaigns.jobs import JOBS, Commands, Job, contents, make_inputs, reference, stale


def run(rounds: int, folder: Path, seed: int = 0, jobs: tuple[Job, ...] = JOBS) -> Counter[str]:
    """``rounds`` pairs of runs per command; ``apply`` with two closers, so that sets could mix."""
    draw, found = random.Random(seed), Counter[str]()
    inputs = make_inputs(folder / "in", rows=20_000)
    with Commands(folder / "logs") as commands:
        for job in jobs:
            _pairs(job, rounds, folder, inputs, commands, draw, found)
    return found


def _pairs(
    job: Job,
    rounds: int,
    folder: Path,
    inputs: Path,
    commands: Commands,
    draw: random.Random,
    found: Counter[str],
) -> None:
    other = job
    if job.name == "apply":
        other = replace(job, words=job.words.replace("closer.", "other."))
    sets = [
        reference(one, inputs, folder / f"whole-{job.name}-{n}", commands)
        for n, one in enumerate((job, other))
    ]
    for number in range(rounds):
        out = folder / f"out-{job.name}-{number}"
        out.mkdir()
        pair = []
        for one in (job, other):
            pair.append(commands.start(one.command(inputs, out)))
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
