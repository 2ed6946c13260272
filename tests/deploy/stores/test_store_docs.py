"""The blocks of docs/stores.md, pasted and run as a new user would."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from kinds import KINDS

from commands import run

pytestmark = pytest.mark.stores

PAGE = (Path(__file__).parents[3] / "docs" / "stores.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r"^<!-- store: ([\w-]+) -->\n```python\n(.*?)^```$", PAGE, re.M | re.S))
(COMMANDS,) = re.findall(r"^<!-- store commands -->\n```console\n(.*?)^```$", PAGE, re.M | re.S)
SERVERS = {
    "postgresql": "postgresql://me@localhost/shop",
    "milvus": "localhost:19530",
    "redis": "redis://localhost:6379",
    "redisearch": "redis://localhost:6379",
}
"""What a block says for the server of a user."""


def test_every_store_has_a_block() -> None:
    assert set(BLOCKS) == set(KINDS) - {"sqlite vec0"}


@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_and_four_commands(
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
    before = PAGE.partition(f"<!-- store: {name} -->")[0]
    address = re.findall(r"STORE[^`]*`([^`]+)`", before)[-1]
    block = BLOCKS[name]
    if name in SERVERS:
        real = started(name)(images[:1], "cosine" if name == "redis" else "dot")
        server = re.split("[?&](?=table=|key=|index=|collection=)", real)[0].removeprefix(
            "milvus://"
        )
        block = block.replace(SERVERS[name], server)
        joined = "&" if "?" in server else "?"
        address = address.replace(SERVERS[name], server).replace(f"{server}?", server + joined)
    exec(compile(block, name, "exec"), {})
    for line in COMMANDS.replace("STORE", address).splitlines():
        code, out, err = run(capsys, *shlex.split(line)[1:])
        assert code == 0, err
        if "--check" in line:
            assert "that of exact search: 100.0% before, 100.0% after" in " ".join(out.split())
            assert list(Path().glob("isthmus-deploy-*/query.py"))
    assert "removed" in out
    assert not list(Path().glob("isthmus-deploy-*"))
