"""A disk that is full at any point: one sentence, old outputs whole, and the run goes on later."""

from __future__ import annotations

import os
import subprocess
from collections import Counter
from contextlib import suppress
from pathlib import Path

from campaigns.jobs import JOBS, Field, Job, contents, field, half, stale

SIZE = 64 << 20


def run(points: int, folder: Path, jobs: tuple[Job, ...] = JOBS) -> Counter[str]:
    """``points`` amounts of room per command, from none to almost enough.

    In a file system of 64 MB in memory where one can be mounted (as root), else with a limit on the
    size of a file.
    """
    disk = folder / "disk"
    disk.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(disk)]
    mounted = False
    with suppress(OSError):
        mounted = subprocess.run(mount, capture_output=True).returncode == 0
    try:
        with field(folder, rows=20_000) as at:
            at.found["on a mounted file system"] = int(mounted)
            for job in jobs:
                whole = at.whole(job)
                for number in range(points):
                    _point(job, at, disk, number / points, number % 2 == 1, whole)
    finally:
        if mounted:
            subprocess.run(["umount", str(disk)], check=True)
    return at.found


def _point(
    job: Job, at: Field, disk: Path, share: float, earlier_run: bool, whole: dict[str, bytes]
) -> None:
    """A run with room for a share of its outputs."""
    out, limit, found = disk / "out", None, at.found
    old = at.before(job, out, earlier_run)
    if found["on a mounted file system"]:
        room = int(share * sum(map(len, whole.values())))
        free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
        with open(disk / "filler", "wb") as filler:
            os.posix_fallocate(filler.fileno(), 0, max(1, free - room))
    else:
        limit = int(share * max(map(len, whole.values())))
    code, err = at.commands.run(job.command(at.inputs, out), limit)
    found["points"] += 1
    here = contents(out)
    found["points with too little room"] += code != 0
    sentence = [line for line in err.splitlines() if line.startswith("isthmus: ")]
    found["not one sentence"] += code != 0 and (code != 1 or len(sentence) != 1)
    found["tracebacks"] += "Traceback" in err
    found["half outputs"] += len(half(here, old, whole)) if code else here != whole
    found["stale files"] += len(stale(here, job, journals=True))
    (disk / "filler").unlink(missing_ok=True)
    at.after(job, out, whole)
