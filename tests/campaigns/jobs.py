"""The commands under attack, their inputs, and what a folder must look like afterwards."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import isthmus as im
from worlds import two_modalities

COMMAND = [sys.executable, "-c", "from isthmus.cli import main; main()"]
JOURNAL = re.compile(r"\.journal(-journal)?$")
TIME = re.compile(rb"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\+00:00| UTC)")
ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}


@dataclass(frozen=True)
class Job:
    """A command that writes ``outputs`` into the folder OUT; inputs lie in the folder IN."""

    name: str
    words: str
    outputs: tuple[str, ...]
    goes_on: bool = False

    def command(self, inputs: Path, out: Path) -> list[str]:
        """Its words."""
        return placed(self.words, inputs, out)


def placed(words: str, inputs: Path, out: Path) -> list[str]:
    """Words with the folders that IN and OUT stand for."""
    return [w.replace("IN/", f"{inputs}/").replace("OUT", str(out)) for w in words.split()]


JOBS = (
    Job(
        "apply",
        "apply IN/closer.safetensors IN/rows.npy --role candidate --out OUT/rows.npy",
        ("rows.npy", "rows.bias.npy"),
    ),
    Job(
        "stress",
        "stress IN/a.npy IN/b.npy --perturb gaussian,sq8 --levels 0.01,0.02,0.04 --trials 6 "
        "--seeds 2 --out OUT/table.parquet",
        ("table.parquet",),
        goes_on=True,
    ),
    Job(
        "embed",
        "embed --encoder emoji --texts IN/texts.txt --batch-size 32 --out OUT/texts.npy",
        ("texts.npy", "texts.npy.ids.json"),
        goes_on=True,
    ),
    Job(
        "audit",
        "audit IN/a.npy IN/b.npy --trials 2 --out OUT",
        (
            "report.json",
            "report.html",
            "closer-a_to_b.safetensors",
            "closer-b_to_a.safetensors",
            "closer-pool.safetensors",
        ),
    ),
)


def make_inputs(folder: Path, rows: int = 60_000) -> Path:
    """Rows, texts and a closer with a bias per candidate."""
    folder.mkdir(parents=True, exist_ok=True)
    a, b = two_modalities(100, 24, seed=11)
    for name, side in (("a", a), ("b", b)):
        np.save(folder / f"{name}.npy", side.astype(np.float32))
    many = np.random.default_rng(0).normal(size=(rows, 24)).astype(np.float32)
    np.save(folder / "rows.npy", many)
    im.fit("biased-shift", a, b).save(folder / "closer.safetensors")
    im.fit("biased-shift", a, -b).save(folder / "other.safetensors")
    words = ("red", "small", "old", "sad", "big"), ("dog", "cat", "tree", "ship", "hat")
    lines = [f"a {one} {two} {n}\n" for n in range(25) for one in words[0] for two in words[1]]
    (folder / "texts.txt").write_text("".join(lines))
    return folder


PARENT = """
import json, os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a parent in the background ignores it,
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # and nohup this one
import isthmus.cli.app, isthmus.data.journal, isthmus.workflows.audits, isthmus.encoders.embedding
import numpy, scipy.special, pyarrow.parquet, safetensors.numpy, rich.table, jinja2, faiss
import isthmus.report.render, isthmus.encoders.emoji, isthmus.core.libraries
from isthmus.cli import main
try:
    isthmus.core.libraries.library("onnxruntime", "a campaign", "onnxruntime", "demo")
except ImportError:
    pass
for line in sys.stdin:
    asked = json.loads(line)
    if "wait" in asked:
        pid, status = os.waitpid(asked["wait"], os.WNOHANG if asked["poll"] else 0)
        print(json.dumps(os.waitstatus_to_exitcode(status) if pid else None), flush=True)
        continue
    pid = os.fork()
    if pid:
        print(pid, flush=True)
        continue
    for number, name in enumerate((os.devnull, asked["out"], asked["err"])):
        os.dup2(os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC), number)
    sys.stdin = open(os.devnull)
    if asked["limit"] is not None:
        import resource
        resource.setrlimit(resource.RLIMIT_FSIZE, (asked["limit"],) * 2)
    sys.argv = ["isthmus", *asked["words"]]
    main()
"""
"""Forks a process per command, its libraries imported: kills meet the work, not the imports."""


class Commands:
    """Runs commands, each in a process of its own; a context manager."""

    def __init__(self, logs: Path) -> None:
        self.logs, self.count = logs, 0
        logs.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Commands:
        self.parent = subprocess.Popen(
            [sys.executable, "-c", PARENT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | ENVIRONMENT,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self.parent.communicate()

    def start(self, words: list[str], limit: int | None = None) -> Running:
        """Begin a command; ``limit`` is the most bytes that a file of it may have."""
        self.count += 1
        out, err = (self.logs / f"{self.count}.{name}" for name in ("out", "err"))
        asked = {"words": words, "out": str(out), "err": str(err), "limit": limit}
        return Running(self, self.ask(asked), err)

    def run(self, words: list[str], limit: int | None = None) -> tuple[int, str]:
        """(exit code, standard error) of a command."""
        return self.start(words, limit).ended()

    def ask(self, what: dict[str, object]) -> int:
        """The parent's answer."""
        assert self.parent.stdin is not None
        assert self.parent.stdout is not None
        self.parent.stdin.write(json.dumps(what) + "\n")
        self.parent.stdin.flush()
        return json.loads(self.parent.stdout.readline())  # type: ignore[no-any-return]


@dataclass
class Running:
    """A command that was begun."""

    commands: Commands
    pid: int
    err: Path
    code: int | None = None

    def poll(self) -> int | None:
        """Its exit code, or None while it works."""
        if self.code is None:
            self.code = self.commands.ask({"wait": self.pid, "poll": True})
        return self.code

    def ended(self) -> tuple[int, str]:
        """(exit code, standard error), once it has ended."""
        if self.code is None:
            self.code = self.commands.ask({"wait": self.pid, "poll": False})
        return self.code, self.err.read_text(errors="replace")


def contents(folder: Path) -> dict[str, bytes]:
    """Every file by its name; a report's own time, which differs from run to run, is taken out."""
    found = {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}
    return {
        name: TIME.sub(b"TIME", data) if name.startswith("report.") else data
        for name, data in found.items()
    }


def earlier(job: Job) -> dict[str, bytes]:
    """Outputs as an earlier run may have left them."""
    old = dict.fromkeys(job.outputs, b"old")
    if job.name == "apply":
        for name, array in (("rows.npy", np.zeros((3, 4))), ("rows.bias.npy", np.zeros(3))):
            held = io.BytesIO()
            np.save(held, array)
            old[name] = held.getvalue()
    return old


def half(found: dict[str, bytes], old: dict[str, bytes], new: dict[str, bytes]) -> list[str]:
    """Outputs that are neither what was there before nor what a whole run writes."""
    return [n for n in new if n in found and found[n] not in (old.get(n), new[n])] + [
        n for n in old if n not in found
    ]


def stale(found: dict[str, bytes], job: Job, journals: bool) -> list[str]:
    """Files that are no outputs, nor, where ``journals`` may be there, a run's journal."""
    return [
        n
        for n in found
        if n not in job.outputs and not (journals and job.goes_on and JOURNAL.search(n))
    ]


@dataclass
class Field:
    """Where commands are attacked: what they read, and what was counted."""

    folder: Path
    inputs: Path
    commands: Commands
    found: Counter[str]

    def whole(self, job: Job, name: str = "") -> dict[str, bytes]:
        """What a run of a command that nothing disturbs writes."""
        out = self.folder / f"whole-{job.name}{name}"
        out.mkdir()
        code, err = self.commands.run(job.command(self.inputs, out))
        assert code == 0, err
        found = contents(out)
        assert set(found) == set(job.outputs), sorted(found)
        return found

    def before(self, job: Job, out: Path, earlier_run: bool) -> dict[str, bytes]:
        """A folder to write to, with the outputs of an earlier run or without."""
        out.mkdir()
        old = earlier(job) if earlier_run else {}
        for name, data in old.items():
            (out / name).write_bytes(data)
        return old

    def after(self, job: Job, out: Path, whole: dict[str, bytes]) -> None:
        """The next run, which nothing disturbs, has to write what it always writes; then clean."""
        code, err = self.commands.run(job.command(self.inputs, out))
        here = contents(out)
        self.found["next starts"] += 1
        self.found["next starts that failed"] += code != 0
        self.found["stale files after the next start"] += len(stale(here, job, journals=False))
        self.found["outputs that differ from an undisturbed run's"] += here != whole
        self.found["tracebacks"] += "Traceback" in err
        shutil.rmtree(out)


@contextmanager
def field(folder: Path, rows: int = 60_000) -> Iterator[Field]:
    """Inputs, and a parent of the commands."""
    inputs = make_inputs(folder / "in", rows)
    with Commands(folder / "logs") as commands:
        yield Field(folder, inputs, commands, Counter())
