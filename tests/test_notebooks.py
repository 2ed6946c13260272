"""The executed notebooks under ``docs``: written by their scripts, and their numbers still hold."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parent.parent / "docs"
sys.path.insert(0, str(DOCS))

from notebook import cells_of, notebook_of, outputs_of  # noqa: E402

SCRIPTS = sorted(p for p in DOCS.glob("*.py") if p.read_text(encoding="utf-8").startswith("# %%"))
NUMBER = re.compile(r"\d*\.\d+(?:e[+-]\d+)?")
NEAR = 0.02
"""How far a number may be on another machine, whose sums are rounded otherwise."""


def stored(script: Path) -> dict[str, Any]:
    return json.loads(script.with_suffix(".ipynb").read_text(encoding="utf-8"))


def printed(cell: dict[str, Any]) -> str:
    """What a cell prints, and the words and numbers of the cards that it shows."""
    cards = ["".join(out.get("data", {}).get("text/html", [])) for out in cell["outputs"]]
    text = "".join("".join(out.get("text", [])) for out in cell["outputs"])
    return text + re.sub(r"<[^>]+>", " ", "".join(cards))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_notebook_has_the_cells_of_its_script_and_ran(script: Path) -> None:
    cells = stored(script)["cells"]
    text = script.read_text(encoding="utf-8")
    assert [(c["cell_type"], "".join(c["source"])) for c in cells] == cells_of(text)
    for cell in cells:
        if cell["cell_type"] == "code":
            assert cell["outputs"], cell["source"]
    assert script.with_suffix(".ipynb").stat().st_size < 400_000


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_notebook_prints_what_it_holds(
    script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    again = notebook_of(script.read_text(encoding="utf-8"))["cells"]
    for cell, new in zip(stored(script)["cells"], again, strict=True):
        if cell["cell_type"] == "code":
            old, now = printed(cell), printed(new)
            assert NUMBER.sub("", old) == NUMBER.sub("", now)
            numbers = [float(n) for n in NUMBER.findall(now)]
            assert numbers == pytest.approx(
                [float(n) for n in NUMBER.findall(old)], rel=NEAR, abs=NEAR
            )
            shown = [list(out.get("data", {})) for out in cell["outputs"]]
            assert shown == [list(out.get("data", {})) for out in new["outputs"]]


def test_a_cell_shows_what_it_prints_and_its_last_value() -> None:
    names: dict[str, Any] = {}
    assert outputs_of("a = 3", names) == []
    stream, shown = outputs_of("print('here')\na + 1", names)
    assert stream["text"] == ["here\n"]
    assert shown["data"]["text/plain"] == ["4"]
