"""Paths, names and labels on the terminal are shown as they are: no markup, no control signs."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from commands import run
from isthmus.closers import fit
from isthmus.data.moments import Moments
from isthmus.report.plain import plain_console, visible
from isthmus.report.table import plain_text

ROWS = np.random.default_rng(0).normal(size=(60, 5)).astype("f4")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain: é 你 𝕏 👍🏽", "plain: é 你 𝕏 👍🏽"),
        ("\x1b[31mred\x07\r", "\\x1b[31mred\\x07\\r"),
        ("a\u202eb\u2066", "a\\u202eb\\u2066"),
        ("\udcff\x9b1m", "\\udcff\\x9b1m"),
        ("two\nlines\xa0👩\u200d🚀", "two\nlines\xa0👩\u200d🚀"),
    ],
)
def test_control_characters_are_escapes(text: str, shown: str) -> None:
    assert visible(text) == shown
    out = io.StringIO()
    plain_console(file=out, width=200).print(text, plain_text(text))
    assert out.getvalue() == f"{shown} {shown}\n"


def test_brackets_and_colons_are_no_markup() -> None:
    from rich.table import Table

    table = Table("[bold]head[/bold]", box=None)
    table.add_row("[/red] :smile: [link=x]y[/link]")
    out = io.StringIO()
    plain_console(file=out, width=200).print("o[red].npy", "[/red]", table)
    assert [line.rstrip() for line in out.getvalue().splitlines()] == [
        "o[red].npy [/red]", " [bold]head[/bold]", " [/red] :smile: [link=x]y[/link]",
    ]  # fmt: skip


def test_commands_name_their_files_as_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    folder = tmp_path / "[bold]"
    folder.mkdir()
    rows, out = folder / "in[red].npy", folder / "o[/red].npy"
    np.save(rows, ROWS)
    closer = tmp_path / "c.safetensors"
    fit("center-both", *(Moments.of(ROWS),) * 2).save(closer)
    code, said, _ = run(capsys, "apply", closer, rows, "--role", "query", "--out", out)
    assert code == 0
    assert "o[/red].npy" in said.replace("\n", "")
    code, _, said = run(capsys, "audit", f"{folder}/no\x1b[31m\x07\nsuch.npy", rows)
    assert code == 1
    assert "no\\x1b[31m\\x07\\nsuch.npy" in said
    assert "\x1b" not in said
