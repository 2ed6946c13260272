"""Kills at random moments: no half output, nothing stale after the next start, the same bytes."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from pathlib import Path

from campaigns.jobs import JOBS, Field, Job, contents, field, half, stale

SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
MOST_IN_A_ROW = 4


def run(count: int, folder: Path, seed: int = 0, jobs: tuple[Job, ...] = JOBS) -> Counter[str]:
    """Kill ``count`` runs, a few in a row, and let one go through after each few.

    Every second row of kills meets outputs of an earlier run, which must stay as they are.
    """
    draw, whole, seconds, rows = random.Random(seed), {}, {}, 0
    with field(folder) as at:
        for job in jobs:
            began = time.monotonic()
            whole[job.name] = at.whole(job)
            seconds[job.name] = time.monotonic() - began
        while at.found["kills"] < count:
            job = jobs[rows % len(jobs)]
            out = folder / f"out-{rows}"
            old = at.before(job, out, earlier_run=rows % 8 < 4)
            for _ in range(min(draw.randint(1, MOST_IN_A_ROW), count - at.found["kills"])):
                ended = _kill(job, at, out, draw.uniform(0.0, seconds[job.name]), draw)
                here = contents(out)
                at.found["half outputs"] += len(half(here, old, whole[job.name]))
                if ended:
                    old = {name: here[name] for name in job.outputs}
            began = time.monotonic()
            at.after(job, out, whole[job.name])
            seconds[job.name] = time.monotonic() - began  # as long as runs take here now
            rows += 1
    return at.found


def _kill(job: Job, at: Field, out: Path, seconds: float, draw: random.Random) -> bool:
    """One run that is killed, and what it left where it could clean up; whether it ended before."""
    number = draw.choice(SIGNALS)
    process = at.commands.start(job.command(at.inputs, out))
    time.sleep(seconds)
    if process.poll() is None:
        os.kill(process.pid, number)
    code, err = process.ended()
    at.found["tracebacks"] += "Traceback" in err
    if code == 0:
        at.found["runs that ended before"] += 1
        return True
    at.found["kills"] += 1
    at.found[f"kills by {number.name}"] += 1
    if code == 128 + number:  # it had the time to clean up
        left = stale(contents(out), job, journals=True)
        at.found["stale files after a signal that can be handled"] += len(left)
    return False
