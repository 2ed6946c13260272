"""Hostile words: each command with values that nobody should give; one sentence each, no harm."""

from __future__ import annotations

import contextlib
import io
import os
import random
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np

from campaigns.jobs import make_inputs
from isthmus.cli import main

MOST_SECONDS = 120
BASES = {
    "audit": "audit a.npy b.npy --trials 1 --levels 0.01 --out report",
    "close": "close a.npy b.npy --out new.safetensors",
    "stress": "stress a.npy b.npy --trials 1 --levels 0.01 --closers none --out new.json",
    "apply": "apply closer.safetensors a.npy --role candidate --out new.npy",
    "compare": "compare a.npy a.npy b.npy",
    "calibrate": "calibrate a.npy b.npy --out new.json",
    "export": "export closer.safetensors --to json --out new.json",
    "recommend": "recommend a.npy b.npy --perturb sq8 --out new.safetensors",
    "mixed": "mixed a.npy b.npy b.npy --out new.safetensors",
    "plan": "plan a.npy b.npy --out new.json",
    "embed": "embed --encoder emoji --texts few.txt --out new.npy",
    "canary make": "canary make emoji --texts few.txt --out new.safetensors",
    "lab": "lab list",
}
NUMBERS = ("-1", "0", "1e308", "1e-320", "nan", "inf", "-inf", "9" * 20, "0x10", "1,2", ",", "")
TEXTS = (
    "é",
    "\udcff",
    "\x1b[31m",
    "[red]x[/red]",
    "[/red]",
    "$(id)",
    "a\nb",
    "%s",
    "{}",
    "[",
    "**",
)
PLACES = (
    "../",
    "/dev/null",
    "/dev/full",
    "/dev/stdin",
    "/dev/zero",
    ".",
    "/",
    "folder",
    "pipe",
    "loop",
)
FILES = ("a.npy", "b.npy", "closer.safetensors", "missing.npy", "missing/x", "a.npy/x", "few.txt")
NAMES = (
    "--help",
    "none",
    "cosine",
    "true",
    "None",
    "file://a",
    "http://localhost/x",
    "a.npy:x",
    "*.npy",
)
VALUES = (*NUMBERS, *TEXTS, *PLACES, *FILES, *NAMES)
OUTPUTS = ("--out", "--bias-out", "--page")
ENDINGS = ("", ".npy", ".json", ".parquet", ".safetensors", ".html")


def run(count: int, folder: Path, seed: int = 0) -> Counter[str]:
    """``count`` commands, each an ordinary one with one or two words exchanged, in this process."""
    draw, found = random.Random(seed), Counter[str]()
    options = {name: sorted(_options(name)) for name in BASES}
    make_inputs(folder, rows=200)
    (folder / "few.txt").write_text("a red apple\na small dog\na tree\na ship\nthe sun\n")
    (folder / "folder").mkdir()
    os.mkfifo(folder / "pipe")
    (folder / "loop").symlink_to("loop")
    inputs = _snapshot(folder)
    with _inside(folder):
        for number in range(count):
            name = list(BASES)[number % len(BASES)]
            words = _words(draw, BASES[name].split(), options[name])
            began = time.monotonic()
            code, err, fault = _command(words)
            found["commands"] += 1
            found[f"exit code {code}"] += 1
            problems = {
                "tracebacks": fault != "" or "Traceback" in err,
                "hangs": time.monotonic() - began > MOST_SECONDS,
                "refusals without a sentence": code == 1 and not _sentence(err),
                "unknown exit codes": code not in (0, 1, 2, 3),
                "inputs changed": _harm(folder, inputs, words),
            }
            for what, wrong in problems.items():
                found[what] += wrong
                if wrong:
                    print(f"{what}: {words} -> {code} {fault or err[-300:]!r}")
    return found


def _options(name: str) -> set[str]:
    import typer.main

    from isthmus.cli.app import app

    command = typer.main.get_command(app)
    for part in name.split():
        command = command.commands[part]  # type: ignore[attr-defined]
    return {option for p in command.params for option in p.opts if option.startswith("--")}


def _words(draw: random.Random, words: list[str], options: list[str]) -> list[str]:
    for _ in range(draw.choice((1, 1, 2))):
        value = draw.choice(VALUES)
        if not value.startswith(("/", "..")):  # nothing is to be written outside the folder
            value += draw.choice(ENDINGS) * draw.choice((0, 0, 1))
        if draw.random() < 0.4:
            words[draw.randrange(1, len(words))] = value
        else:
            words = [*words, draw.choice([o for o in options if o != "--help"]), value]
    return words


def _command(words: list[str]) -> tuple[int, str, str]:
    """(exit code, standard error, what escaped)."""

    def too_long(*_: object) -> None:
        raise TimeoutError

    out, err = io.StringIO(), io.StringIO()
    previous, sys.argv = sys.argv, ["isthmus", *words]
    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(MOST_SECONDS + 10)
    code, fault = 0, ""
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
    except SystemExit as stop:
        code = int(stop.code or 0)
    except BaseException as error:
        fault = f"{type(error).__name__}: {error}"
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        sys.argv = previous
    return code, err.getvalue(), fault


def _sentence(err: str) -> bool:
    return sum(line.startswith("isthmus: ") for line in err.splitlines()) == 1


def _snapshot(folder: Path) -> dict[str, bytes | None]:
    return {p.name: p.read_bytes() if p.is_file() else None for p in folder.iterdir()}


def _harm(folder: Path, inputs: dict[str, bytes | None], words: list[str]) -> bool:
    """Whether a command changed what it was not told to write; all is put back as it was."""
    others = [word for before, word in pairwise(["", *words]) if before not in OUTPUTS]
    now, harm = _snapshot(folder), False
    for name, data in inputs.items():
        if now.get(name, b"gone") != data:
            asked = [word for word in words if os.path.basename(word) == name]
            harm |= asked == [] or name in others
            (folder / name).write_bytes(data or b"")
    for name in set(now) - set(inputs):
        place = folder / name
        harm |= name.startswith(".isthmus-")
        shutil.rmtree(place) if place.is_dir() and not place.is_symlink() else place.unlink()
    for place in (folder / "folder").iterdir():
        place.unlink()
    return harm


@contextlib.contextmanager
def _inside(folder: Path) -> Iterator[None]:
    here = Path.cwd()
    os.chdir(folder)
    standard_input, sys.stdin = sys.stdin, io.StringIO()
    try:
        with np.errstate(all="ignore"):
            yield
    finally:
        sys.stdin = standard_input
        os.chdir(here)
