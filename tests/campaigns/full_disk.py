"""A disk that is full at any point: one sentence, old outputs whole, and the run goes on later."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections import Counter
from contextlib import suppress
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

SIZE = 64 << 20


def run(points: int, folder: Path, jobs: tuple[Job, ...] = JOBS) -> Counter[str]:
    """``points`` amounts of room per command, from none to almost enough.

    In a file system of 64 MB in memory where one can be mounted (as root), else with a limit on the
    size of a file.
    """
    found = Counter[str]()
    inputs = make_inputs(folder / "in", rows=20_000)
    disk = folder / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(disk)]
    with suppress(OSError):
        found["on a mounted file system"] = (
            subprocess.run(mount, capture_output=True).returncode == 0
        )
    try:
        with Commands(folder / "logs") as commands:
            for job in jobs:
                whole = reference(job, inputs, folder / f"whole-{job.name}", commands)
                needed = sum(map(len, whole.values()))
                for number in range(points):
                    room = needed * number // points
                    old = earlier(job) if number % 2 else {}
                    _point(
                        job, commands, job.command(inputs, disk / "out"), room, old, whole, found
                    )
    finally:
        if found["on a mounted file system"]:
            subprocess.run(["umount", str(disk)], check=True)
    return found


def _point(
    job: Job,
    commands: Commands,
    words: list[str],
    room: int,
    old: dict[str, bytes],
    whole: dict[str, bytes],
    found: Counter[str],
) -> None:
    out = Path(words[-1]) if job.name == "audit" else Path(words[-1]).parent
    disk, limit = out.parent, None
    out.mkdir()
    for name, data in old.items():
        (out / name).write_bytes(data)
    if found["on a mounted file system"]:
        free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
        with open(disk / "filler", "wb") as filler:
            os.posix_fallocate(filler.fileno(), 0, max(1, free - room))
    else:
        largest = max(map(len, whole.values()))
        limit = largest * room // sum(map(len, whole.values()))
    code, err = commands.run(words, limit)
    found["points"] += 1
    here = contents(out)
    found["points with too little room"] += code != 0
    sentence = [line for line in err.splitlines() if line.startswith("isthmus: ")]
    found["not one sentence"] += code != 0 and (code != 1 or len(sentence) != 1)
    found["tracebacks"] += "Traceback" in err
    found["half outputs"] += len(half(here, old, whole)) if code else here != whole
    found["stale files"] += len(stale(here, job, journals=True))
    (disk / "filler").unlink(missing_ok=True)
    code, err = commands.run(words)
    found["next starts that failed"] += code != 0
    found["outputs that differ from an undisturbed run's"] += contents(out) != whole
    shutil.rmtree(out)
