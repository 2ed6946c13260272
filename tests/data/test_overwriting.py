"""No output destroys an input, another output, or a file of the user."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import commands
import isthmus as im
from isthmus.closers import apply_to_file
from isthmus.data.overwriting import refuse_overwriting
from refusals import refused


@pytest.fixture
def closer(files_wide: Path) -> Path:
    """A closer with a candidate bias, beside the two files of rows."""
    im.fit("biased-shift", "images.npy", "captions.npy").save("closer.safetensors")
    assert im.closers is not None
    return files_wide


def link(name: str) -> str:
    Path("link.npy").symlink_to(name)
    return "link.npy"


def hard_link(name: str) -> str:
    os.link(name, "hard.npy")
    return "hard.npy"


def other_way(name: str) -> str:
    return os.path.join("..", Path.cwd().name, name)


WAYS = (str, link, hard_link, other_way)


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize(
    "way", [other_way, *(pytest.param(w, marks=pytest.mark.slow) for w in (str, link, hard_link))]
)
@pytest.mark.parametrize(
    "words",
    [
        "apply closer.safetensors captions.npy --role candidate --out {captions.npy}",
        "apply closer.safetensors captions.npy --role candidate --out new.npy "
        "--bias-out {captions.npy}",
        "apply closer.safetensors captions.npy --role candidate --out {closer.safetensors}",
        "close images.npy captions.npy --out {closer.safetensors} --labels closer.safetensors",
        "export closer.safetensors --to closer --out {closer.safetensors}",
        "export closer.safetensors --to json --out c.json --store cosine --candidates c.json",
        "stress images.npy captions.npy --out {t.json} --relevance t.json",
        "stress images.npy captions.npy --page {t.html} --labels t.html",
        "calibrate images.npy captions.npy --out {t.json} --labels t.json",
        "recommend images.npy captions.npy --perturb sq8 --out {closer.safetensors} "
        "--labels closer.safetensors",
        "embed --encoder emoji --texts t.npy --out {t.npy}",
        "canary make emoji --texts t.json --out {t.json}",
        "audit folder folder --out folder",
    ],
)
def test_an_output_that_is_an_input_is_refused_and_stays(
    closer: Path, words: str, way: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("t.json", "t.html", "t.npy", "c.json"):
        Path(name).write_text("[1]")
    Path("folder").mkdir()
    shutil.copy("images.npy", "folder/1.npy")
    head, _, rest = words.partition("{")
    name, _, tail = rest.partition("}")
    given = words if not rest else head + way(name) + tail
    before = snapshot(closer)
    code, out, err = commands.run(capsys, *given.split())
    assert (code, out) == (1, "")
    assert "is the input" in err
    assert err.count("\n") == 1
    assert snapshot(closer) == before


@pytest.mark.parametrize("second", ["a.npy", "A.NPY", "./a.npy"])
def test_two_outputs_are_two_files(second: str, tmp_path: Path) -> None:
    with refused("output-twice", "--bias-out and --out"):
        refuse_overwriting({"out": "a.npy", "bias_out": second}, {})


@pytest.mark.parametrize(
    ("rows", "out"),
    [
        ("shards", "shards/new.npy"),
        ("shards/", "elsewhere/../shards/new.parquet"),
        ("shards/*.npy", "shards/new.npy"),
        ("shards/part?.npy", "shards/part9.npy"),
    ],
)
def test_an_output_among_shards_is_refused(closer: Path, rows: str, out: str) -> None:
    Path("shards").mkdir()
    Path("elsewhere").mkdir()
    shutil.copy("captions.npy", "shards/part1.npy")
    with refused("output-among-inputs", "new.npy" if "new.npy" in out else Path(out).name):
        apply_to_file("closer.safetensors", rows, "candidate", out)
    done = apply_to_file("closer.safetensors", "shards/*.npy", "candidate", "elsewhere/a.npy")
    assert done.rows == 40


def test_a_bias_file_of_the_user_is_left_alone(closer: Path) -> None:
    mine = Path("new.bias.npy")
    for array in (np.arange(3.0), np.ones((2, 2))):
        np.save(mine, array)
        with refused("not-ours", "new.bias.npy", "--bias-out"):
            apply_to_file("closer.safetensors", "captions.npy", "candidate", "new.npy")
        np.testing.assert_array_equal(np.load(mine), array)
        np.save("new.npy", np.ones((5, 4), np.float32))  # nor where the output is there
        with refused("not-ours", "new.bias.npy"):
            apply_to_file("closer.safetensors", "captions.npy", "candidate", "new.npy")
        Path("new.npy").unlink()
    mine.unlink()
    first = apply_to_file("closer.safetensors", "captions.npy", "candidate", "new.npy")
    again = apply_to_file("closer.safetensors", "captions.npy", "candidate", "new.npy")
    assert first == again
    assert np.load(mine).shape == (40,)


DIES = """
import os, signal
from isthmus.closers import apply_to_file
from isthmus.data import atomic
real = os.replace
def replace(source, target):
    if str(target).endswith("new.npy"):
        os.kill(os.getpid(), signal.SIGKILL)
    real(source, target)
atomic.os.replace = replace
apply_to_file("closer.safetensors", "captions.npy", "candidate", "new.npy")
"""


def test_a_set_that_was_half_renamed_is_no_file_of_the_user(closer: Path) -> None:
    """The biases are in place, the rows not yet: the next run ends that before it looks."""
    apply_to_file("closer.safetensors", "captions.npy", "candidate", "whole.npy")
    done = subprocess.run([sys.executable, "-c", DIES])
    assert done.returncode == -9
    assert not Path("new.npy").exists()
    apply_to_file("closer.safetensors", "captions.npy", "candidate", "new.npy")
    for ending in (".npy", ".bias.npy"):
        assert Path(f"new{ending}").read_bytes() == Path(f"whole{ending}").read_bytes()
    assert not list(closer.glob(".isthmus-*"))


@pytest.mark.parametrize("ending", [".ids.json", ".skipped.json"])
def test_lists_of_the_user_beside_rows_are_left_alone(tmp_path: Path, ending: str) -> None:
    pytest.importorskip("onnxruntime")
    mine = tmp_path / f"rows.npy{ending}"
    mine.write_text("[1]")
    with refused("not-ours", mine.name):
        im.embed("emoji", texts=["a dog"], out=tmp_path / "rows.npy")
    assert mine.read_text() == "[1]"
    assert [p.name for p in tmp_path.iterdir()] == [mine.name]
