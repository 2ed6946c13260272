"""Every command under ``strace``: no internet socket, and no file touched outside its outputs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

from campaigns.jobs import COMMAND, ENVIRONMENT, make_inputs, placed

QUICK = {
    "close": "close IN/a.npy IN/b.npy --out OUT/closer.safetensors",
    "audit": "audit IN/shards IN/b.npy --trials 2 --out OUT/report",
    "stress": "stress IN/a.npy IN/b.npy --trials 2 --perturb gaussian,sq8 --out OUT/table.parquet "
    "--page OUT/page.html",
    "apply": "apply IN/closer.safetensors IN/rows.npy --role candidate --out OUT/rows.npy",
    "compare": "compare IN/a.npy IN/a.npy IN/b.npy --json",
    "calibrate": "calibrate IN/a.npy IN/b.npy --out OUT/match.json",
    "canary make": "canary make emoji --texts IN/few.txt --out OUT/canary.safetensors",
    "export": "export IN/closer.safetensors --to json --out OUT/closer.json",
    "recommend": "recommend IN/a.npy IN/b.npy --perturb sq8 --out OUT/closer.safetensors",
    "mixed": "mixed IN/a.npy IN/b.npy IN/b.npy --out OUT/pool.safetensors",
    "plan": "plan IN/a.npy IN/b.npy --out OUT/plan.json",
    "embed": "embed --encoder emoji --texts IN/few.txt --out OUT/texts.parquet",
    "lab": "lab list",
}
SLOW = {"demo": "demo --out OUT/demo"}
INTERNET = re.compile(r"AF_INET|AF_PACKET|AF_NETLINK")
WRITES = re.compile(r"O_(WRONLY|RDWR|CREAT|TRUNC|APPEND)")
CALL = re.compile(
    r'^(?:\d+ +)?(\w+)\((?:AT_FDCWD, |\d+, )?"([^"]*)"(?:, (?:AT_FDCWD, )?"([^"]*)")?'
)
ALLOWED = ("/dev/", "/proc/self/", "/sys/")
"""Devices are no place to keep anything; shared memory and semaphores would lie in /dev/shm."""


def can_trace() -> str:
    """Why strace cannot run here; nothing if it can."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    done = subprocess.run(["strace", "-qq", "-o", os.devnull, "true"], capture_output=True)
    return "" if done.returncode == 0 else "strace may not trace here"


def _environment() -> dict[str, str]:
    """This process's, less what would have a command write down which of its lines ran."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COV")}


def traced(words: str, inputs: Path, out: Path, log: Path) -> tuple[int, str]:
    """Run a command under strace: its exit code and standard error. The calls are in ``log``."""
    calls = "network,openat,open,creat,mkdir,mkdirat,rename,renameat,renameat2,link,linkat,symlink"
    watch = ["strace", "-f", "-qq", "-s", "4096", "-e", f"trace={calls}", "-o", str(log)]
    done = subprocess.run(
        [*watch, *COMMAND, *placed(words, inputs, out)],
        capture_output=True,
        text=True,
        cwd=out,
        env=_environment() | ENVIRONMENT | {"HOME": str(out.parent / "home")},
    )
    return done.returncode, done.stderr


def broken_promises(log: Path, out: Path) -> list[str]:
    """Calls that open a connection, or create or change something outside ``out``."""
    found = []
    for line in log.read_text(errors="replace").splitlines():
        if INTERNET.search(line):
            found.append(line)
        call = CALL.match(line)
        if call is None or " = -1 " in line:
            continue
        if call[1] in ("open", "openat") and not WRITES.search(line):
            continue
        for path in filter(None, (call[3] or call[2],)):
            place = os.path.normpath(os.path.join(out, path))
            if not place.startswith((f"{out}{os.sep}", *ALLOWED)) and place != str(out):
                found.append(line)
    return found


def run(folder: Path, words: dict[str, str] | None = None) -> Counter[str]:
    """Each command once, in a fresh folder, with a home that does not exist."""
    found = Counter[str]()
    inputs = make_inputs(folder / "in", rows=5000)
    (inputs / "shards").mkdir()
    for part in (1, 2):
        shutil.copy(inputs / "a.npy", inputs / "shards" / f"a{part}.npy")
    (inputs / "few.txt").write_text("a red apple\na small dog\na tree\na ship\nthe sun\n")
    for name, line in (words or QUICK | SLOW).items():
        out = folder / f"out-{name.replace(' ', '-')}"
        out.mkdir()
        code, err = traced(line, inputs, out, folder / "calls")
        assert code == 0, f"{line}: {err}"
        broken = broken_promises(folder / "calls", out)
        found["commands"] += 1
        found["calls outside"] += len(broken)
        for call in broken[:5]:
            print(f"{name}: {call}")
    return found
