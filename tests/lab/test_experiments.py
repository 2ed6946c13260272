"""Every experiment by its name, from Python and from the command line."""

from __future__ import annotations

import csv
import json
import xml.etree.ElementTree as ET
from functools import cache

import pytest

import isthmus as im
from commands import run
from isthmus.lab.registry import Findings
from refusals import refused

TABLE = (0.9967, 0.9835, 0.9258, 0.8265, 0.9834, 0.5667)
LAW = (0.9957, 0.9824, 0.9260, 0.8201, 0.9836, 0.5618, None, None)
"""Final gaps of theory 2.1.3, simulated and by D8."""


@cache
def found(name: str) -> Findings:
    """An experiment, run once."""
    return im.lab[name].run()


def test_final_gap_is_the_table_of_the_theory() -> None:
    rows = found("final-gap").rows()
    assert [row["predicted"] for row in rows] == [
        None if law is None else pytest.approx(law, abs=1e-4) for law in LAW
    ]
    simulated = [row["simulated"] for row in rows]
    assert simulated[:6] == pytest.approx(TABLE, rel=0.02)
    assert simulated[:6] == pytest.approx(LAW[:6], rel=0.02)
    assert simulated[6] < 0.8 * 0.4
    assert simulated[7] < 0.6 * 0.3


def test_an_experiment_writes_its_table_and_figures(tmp_path) -> None:
    table, *figures = found("final-gap").write(tmp_path / "made")
    with table.open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["simulated"]) for row in rows] == [
        row["simulated"] for row in found("final-gap").rows()
    ]
    assert len(figures) == len(found("final-gap").figures) > 0
    for figure in figures:
        assert ET.parse(figure).getroot().tag.endswith("svg")


def test_the_command_prints_rows(tmp_path, capsys) -> None:
    code, out, err = run(capsys, "lab", "final-gap", "--json", "--out", tmp_path)
    assert code == 0
    assert json.loads(out) == found("final-gap").rows()
    assert "final-gap.csv" in err
    code, out, _ = run(capsys, "lab", "list", "--json")
    assert [line["name"] for line in json.loads(out)] == list(im.lab)


def test_an_unknown_experiment_is_refused() -> None:
    with refused("unknown-experiment", "final-gap"):
        im.lab["final"]
