"""The command as a process: closed and full outputs, signals, places that cannot be written."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import commands
import isthmus as im
from isthmus.data.journal import Journal

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="streams and signals of POSIX")
SLOW = pytest.mark.slow
COMMAND = [sys.executable, "-c", "from isthmus.cli import main; main()"]


def run(words: str, shell: str = "", **env: str) -> subprocess.CompletedProcess[str]:
    """``isthmus WORDS`` through a shell, with what follows it there."""
    script = f'exec "$@" {shell}' if not shell.startswith("|") else f'"$@" {shell}'
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {script}", "bash", *COMMAND, *words.split()],
        capture_output=True,
        text=True,
        env={k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"} | env,
    )


GATE = "compare images.npy captions.npy captions.npy --max-flips 0"


@pytest.mark.parametrize(
    "shell",
    [
        ">&- 2>&-",
        *(pytest.param(s, marks=SLOW) for s in ("", ">&-", "2>&-", "| true", "2>&1 | true")),
    ],
)
def test_the_exit_code_does_not_depend_on_who_reads(files_wide: Path, shell: str) -> None:
    done = run(f"{GATE} --json", shell, **({"PYTHONUNBUFFERED": "1"} if "|" in shell else {}))
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr


@pytest.mark.slow
def test_a_full_output_is_one_sentence(files_wide: Path) -> None:
    done = run(f"{GATE} --json", ">/dev/full")
    assert done.returncode in (1, 3)
    assert done.stderr.splitlines()[-1] == (
        "isthmus: standard output cannot be written (No space left on device)"
    )
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_closed_output_keeps_its_number_to_itself(files_wide: Path) -> None:
    """No file of ours may be where a library prints."""
    im.fit("center-queries", "images.npy", "captions.npy").save("c.safetensors")
    done = run("apply c.safetensors images.npy --role query --out new.npy", ">&- 2>&- <&-")
    assert done.returncode == 0
    assert np.load("new.npy").shape == (40, 96)


COMMANDS = {
    "apply c.safetensors images.npy --role query": ".npy",
    "stress images.npy captions.npy --trials 1 --levels 0.01 --closers none": ".json",
    "audit images.npy captions.npy --trials 1 --levels 0.01": "",
    "close images.npy captions.npy": ".safetensors",
    "calibrate images.npy captions.npy": ".json",
    "embed --encoder emoji --texts t.txt": ".npy",
}


@pytest.mark.parametrize(
    ("words", "end"),
    [
        ("decide none.json none.npy none.npy", ".parquet"),
        ("apply none.safetensors none.npy --role query", ".npy"),
        ("embed --encoder none --texts none.txt", ".npy"),
        ("canary make none --texts none.txt", ".json"),
        ("deploy none.safetensors faiss:none.faiss", ""),
    ],
)
def test_an_output_is_looked_at_before_any_input(
    files_wide: Path, words: str, end: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = commands.run(capsys, *words.split(), "--out", f"images.npy/x{end}")
    assert code == 1
    assert "images.npy" in err
    assert "none" not in err


@pytest.mark.parametrize(
    "place",
    ["images.npy/x", *(pytest.param(p, marks=SLOW) for p in ("/proc/x", "/dev/full/x", "x" * 300))],
)
@pytest.mark.parametrize("words", COMMANDS)
def test_places_that_cannot_be_written_are_one_sentence(
    files_wide: Path, words: str, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if "emoji" in words:
        pytest.importorskip("onnxruntime")
        Path("t.txt").write_text("a dog\n")
    im.fit("center-queries", "images.npy", "captions.npy").save("c.safetensors")
    before = sorted(os.listdir())
    code, _, err = commands.run(capsys, *f"{words} --out {place}{COMMANDS[words]}".split())
    assert code == 1
    assert err.startswith("isthmus: ")
    assert err.count("\n") == 1
    assert sorted(os.listdir()) == before


@pytest.mark.parametrize(
    "words",
    [
        "apply c.safetensors images.npy --role candidate --out .",
        "embed --encoder emoji --texts t.txt --out .",
        "mixed images.npy captions.npy captions.npy --fit-share nan",
    ],
)
def test_odd_words_are_one_sentence(
    files_wide: Path, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("t.txt").write_text("a dog\n")
    im.fit("biased-shift", "images.npy", "captions.npy").save("c.safetensors")
    code, _, err = commands.run(capsys, *words.split())
    assert code == 1
    assert err.startswith("isthmus: ")
    assert err.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_stopped_run_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(200_000, 64)).astype(np.float32)
    np.save(tmp_path / "rows.npy", rows)
    im.fit("center-queries", rows[:50], rows[50:100]).save(tmp_path / "c.safetensors")
    words = ["apply", "c.safetensors", "rows.npy", "--role", "query", "--out", "new.npy"]
    with subprocess.Popen(
        [*COMMAND, *words],
        cwd=tmp_path,
        stdout=-1,
        stderr=-1,
        text=True,
        preexec_fn=lambda: signal.signal(
            number, signal.SIG_DFL
        ),  # a suite in the background has not
    ) as process:
        while not list(tmp_path.glob(".isthmus-*")) and process.poll() is None:
            time.sleep(0.002)
        process.send_signal(number)
        _, said = process.communicate()
    assert process.returncode == 128 + number
    assert said == (
        "isthmus: interrupted; nothing half-written is left behind\n"
        if number == signal.SIGINT
        else f"isthmus: stopped by {number.name}; nothing half-written is left behind\n"
    )
    assert sorted(os.listdir(tmp_path)) == ["c.safetensors", "rows.npy"]


def test_nohup_is_respected(files_wide: Path) -> None:
    im.fit("center-queries", "images.npy", "captions.npy").save("c.safetensors")
    code = (
        "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "from isthmus.cli.process import stopped_by_signals\n"
        "with stopped_by_signals():\n"
        "    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN\n"
        "    assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.slow
def test_names_that_are_no_utf_8(files_wide: Path) -> None:
    im.fit("center-queries", "images.npy", "captions.npy").save("c.safetensors")
    odd = os.fsdecode(b"caf\xe9")
    os.rename("images.npy", f"{odd}.npy")
    words = ["apply", "c.safetensors", f"{odd}.npy", "--role", "query", "--json"]
    done = subprocess.run([*COMMAND, *words, "--out", f"{odd}-new.parquet"], capture_output=True)
    assert done.returncode == 0, done.stderr
    assert os.path.exists(f"{odd}-new.parquet")
    assert b"caf\\\\udce9-new" in done.stdout
    table = im.stress(f"{odd}.npy", "captions.npy", trials=1, levels=[0.01], closers="none")
    assert "caf\\udce9" in table.save(f"{odd}.html").read_text("utf-8")
    table.save(f"{odd}.parquet")


def test_an_interrupted_run_says_what_it_keeps(
    files_wide: Path, monkeypatch: Any, capsys: Any
) -> None:
    """Ctrl-C during the second step: the first is kept, and the same command goes on after it."""
    words = ["stress", "images.npy", "captions.npy", "--levels", "0.01,0.02", "--out", "t.parquet"]
    append, done = Journal.append, []

    def interrupted(journal: Journal, *given: Any) -> None:
        if done:
            raise KeyboardInterrupt
        done.append(1)
        append(journal, *given)

    monkeypatch.setattr(Journal, "append", interrupted)
    code, _, err = commands.run(capsys, *words)
    assert code == 130
    assert err.endswith(
        "isthmus: interrupted; t.parquet.journal keeps 1 finished steps; give the same command "
        "again to go on after them\n"
    )
    monkeypatch.setattr(Journal, "append", append)
    assert commands.run(capsys, *words)[0] == 0
    assert not Path("t.parquet.journal").exists()


@pytest.mark.slow
def test_short_help_and_completion(tmp_path: Path) -> None:
    for words in (["-h"], ["audit", "-h"], ["canary", "make", "-h"]):
        shown = subprocess.run([*COMMAND, *words], capture_output=True, text=True, check=True)
        assert "Usage:" in shown.stdout
    asked = {"COMP_WORDS": "isthmus comp", "COMP_CWORD": "1", "_ISTHMUS_COMPLETE": "complete_bash"}
    start = "import sys; sys.argv[0] = 'isthmus'; from isthmus.cli import main; main()"
    words = [sys.executable, "-c", start]
    got = subprocess.run(
        words, env=os.environ | asked, capture_output=True, text=True, cwd=tmp_path
    )
    assert got.stdout.split() == ["compare"]
