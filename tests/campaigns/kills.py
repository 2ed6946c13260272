"""Kills at random moments: no half output, nothing stale after the next start, the same bytes."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections import Counter
from pathlib import Path

from campaigns.jobs import (
    JOBS,
    Commands,
    Job,
    contents,
    earlier,
    half,
    make_inputs,
    reference,
    stale,
)

SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
MOST_IN_A_ROW = 4


def run(count: int, folder: Path, seed: int = 0, jobs: tuple[Job, ...] = JOBS) -> Counter[str]:
    """Kill ``count`` runs, a few in a row, and let one go through after each few.

    Every second row of kills meets outputs of an earlier run, which must stay as they are.
    """
    found = Counter[str]()
    inputs = make_inputs(folder / "in")
    with Commands(folder / "logs") as commands:
        _rows_of_kills(count, folder, inputs, random.Random(seed), jobs, commands, found)
    return found


def _rows_of_kills(
    count: int,
    folder: Path,
    inputs: Path,
    draw: random.Random,
    jobs: tuple[Job, ...],
    commands: Commands,
    found: Counter[str],
) -> None:
    whole, seconds = {}, {}
    for job in jobs:
        began = time.monotonic()
        whole[job.name] = reference(job, inputs, folder / f"whole-{job.name}", commands)
        seconds[job.name] = time.monotonic() - began
    rows = 0
    while found["kills"] < count:
        job = jobs[rows % len(jobs)]
        out = folder / f"out-{rows}"
        out.mkdir()
        old = earlier(job) if rows % 8 < 4 else {}
        for name, data in old.items():
            (out / name).write_bytes(data)
        for _ in range(min(draw.randint(1, MOST_IN_A_ROW), count - found["kills"])):
            words = job.command(inputs, out)
            done = _kill(
                job, commands, words, out, draw.uniform(0.0, seconds[job.name]), draw, found
            )
            here = contents(out)
            found["half outputs"] += len(half(here, old, whole[job.name]))
            if done == "by itself":
                old = {name: here[name] for name in job.outputs}
        began = time.monotonic()
        code, err = commands.run(job.command(inputs, out))
        seconds[job.name] = time.monotonic() - began  # as long as runs take on this machine now
        after = contents(out)
        found["next starts"] += 1
        found["next starts that failed"] += code != 0
        found["stale files after the next start"] += len(stale(after, job, journals=False))
        found["outputs that differ from an unkilled run's"] += after != whole[job.name]
        found["tracebacks"] += "Traceback" in err
        shutil.rmtree(out)
        rows += 1


def _kill(
    job: Job,
    commands: Commands,
    words: list[str],
    out: Path,
    seconds: float,
    draw: random.Random,
    found: Counter[str],
) -> str:
    """One run that is killed, unless it ends before; what it left where it could clean up."""
    number = draw.choice(SIGNALS)
    process = commands.start(words)
    time.sleep(seconds)
    if process.poll() is None:
        os.kill(process.pid, number)
    code, err = process.ended()
    found["tracebacks"] += "Traceback" in err
    if code == 0:
        found["runs that ended before"] += 1
        return "by itself"
    found["kills"] += 1
    found[f"kills by {number.name}"] += 1
    if code == 128 + number:  # it had the time to clean up
        left = stale(contents(out), job, journals=True)
        found["stale files after a signal that can be handled"] += len(left)
    return "killed"
