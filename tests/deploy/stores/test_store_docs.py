"""The blocks of docs/stores.md, pasted and run as a new user would."""

from __future__ import annotations

import gc
import json
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from kinds import KINDS
from sections import BLOCKS, COMMANDS, ROWS, SERVERS, at_server
from worlds_of_stores import best

from commands import run

pytestmark = pytest.mark.stores


def test_every_store_has_a_block() -> None:
    assert set(BLOCKS) == set(KINDS) - {"sqlite vec0"}


def test_the_rows_of_who_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.chdir(tmp_path)
    exec(compile(ROWS, "rows", "exec"), {})
    shapes = [np.load(f"{name}.npy").shape for name in ("images", "captions", "questions")]
    assert shapes == [(1906, 128), (953, 128), (953, 128)]


@pytest.mark.parametrize("name", BLOCKS)
def test_a_section_as_it_stands(
    name: str,
    started: Callable,
    world: tuple,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    monkeypatch.chdir(tmp_path)
    queries, images = world
    for file, rows in {
        "images": images,
        "captions": queries[:60],
        "questions": queries[60:],
    }.items():
        np.save(f"{file}.npy", rows)
    address, block = BLOCKS[name]
    if name in SERVERS:
        score = "cosine" if name == "redis" else "dot"
        address, block = at_server(name, started(name)(images[:1], score))
    exec(compile(block, name, "exec"), {})
    found = []
    for line in COMMANDS.replace("$STORE", address).splitlines():
        program, *words = shlex.split(line.removeprefix("test -f closer.safetensors || "))
        if program == "python":
            gc.collect()  # stores of this process, which lock their folders while they are open
            done = subprocess.run([sys.executable, *words], capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            found = json.loads(done.stdout.replace("'", '"'))
            continue
        code, out, err = run(capsys, *words)
        assert code == 0, err
        if words[0] == "recommend":  # the next line is for who goes on without a gain
            assert "do nothing" in out
            assert not Path("closer.safetensors").exists()
        if "--check" in line:
            assert "that of exact search: 100.0% before, 100.0% after" in " ".join(out.split())
    rows = [int(str(one).rpartition(":")[2]) for one in found]
    first = 1 if name == "postgresql" else 0  # a bigserial begins with 1
    assert rows[:3] == (best(queries, images)[60] + first).tolist()
    assert "removed" in out
    assert not Path("deployed/query.py").exists()
