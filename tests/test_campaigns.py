"""A short, fixed part of each campaign; ``make reliability`` runs them whole."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from campaigns import full_disk, hostile, kills, offline, twice
from campaigns.jobs import JOBS

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals and limits of POSIX")
GOOD = (
    "kills",
    "kills by",
    "runs that ended before",
    "next starts",
    "pairs of runs",
    "second runs refused in words",
    "points",
    "points with too little room",
    "on a mounted file system",
    "commands",
    "exit code",
    "stale files after a signal that can be handled",  # one in the clean-up itself; the next start
)
QUICK = tuple(job for job in JOBS if job.name in ("apply", "stress"))


def faults(found: Counter[str]) -> dict[str, int]:
    """Counts of what must not happen."""
    return {
        what: count
        for what, count in found.items()
        if count and what not in GOOD and not what.startswith(("kills by", "exit code"))
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("attack", "least"),
    [
        (lambda folder: kills.run(4, folder, seed=1, jobs=QUICK), {"kills": 4, "next starts": 1}),
        (lambda folder: twice.run(1, folder, jobs=QUICK), {"pairs of runs": 2}),
        (lambda folder: full_disk.run(2, folder, jobs=QUICK), {"points": 4}),
        (lambda folder: hostile.run(39, folder, seed=5), {"commands": 39}),
    ],
    ids=["kills", "twice", "full disk", "hostile"],
)
def test_an_attack_does_no_harm(
    attack: Callable[[Path], Counter[str]], least: dict[str, int], tmp_path: Path
) -> None:
    found = attack(tmp_path / "work")
    assert faults(found) == {}
    assert all(found[what] >= count for what, count in least.items()), found


@pytest.fixture
def strace() -> None:
    if reason := offline.can_trace():
        pytest.skip(f"calls cannot be watched here: {reason}")


@pytest.mark.slow
def test_no_command_opens_a_connection_or_writes_elsewhere(tmp_path: Path, strace: None) -> None:
    pytest.importorskip("onnxruntime")
    words = {name: offline.QUICK[name] for name in ("audit", "stress", "apply", "embed")}
    found = offline.run(tmp_path / "work", words)
    assert dict(+found) == {"commands": 4}


def test_the_watch_sees_a_connection_and_a_file_elsewhere(tmp_path: Path) -> None:
    log = tmp_path / "calls"
    log.write_text(
        f'12 openat(AT_FDCWD, "{tmp_path}/out/a.npy", O_WRONLY|O_CREAT, 0666) = 3\n'
        '12 openat(AT_FDCWD, "/etc/hosts", O_RDONLY) = 3\n'
        '12 openat(AT_FDCWD, "/home/me/.cache/x.db", O_RDWR|O_CREAT, 0666) = -1 ENOENT (No)\n'
        "12 socket(AF_INET, SOCK_DGRAM|SOCK_CLOEXEC, IPPROTO_IP) = 4\n"
        '12 openat(AT_FDCWD, "/home/me/.cache/x.db", O_RDWR|O_CREAT, 0666) = 3\n'
        f'12 rename("{tmp_path}/out/a.npy", "/home/me/a.npy") = 0\n'
        '12 mkdir("../elsewhere", 0777) = 0\n'
    )
    found = offline.broken_promises(log, tmp_path / "out")
    assert [line.split("(")[0][3:] for line in found] == ["socket", "openat", "rename", "mkdir"]
