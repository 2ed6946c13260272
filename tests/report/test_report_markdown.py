"""Markdown: names and texts come out as they were written, whatever marks they hold."""

from __future__ import annotations

import re
from typing import Any

import pytest

from isthmus.report.markdown import inert, render_markdown
from isthmus.report.words import commands

NAME = "a | b `c` *d* [e](f) <i>&amp;"


def small_report(closer: str = "center-queries") -> dict[str, Any]:
    row = {
        "closer": closer,
        "score": "dot",
        "family": "gaussian",
        "side": "candidates",
        "level": 0.022,
        "consistency": 0.75,
        "clean_agreement": 1.0,
    }
    return {
        "inputs": {
            "a": {"name": NAME, "rows": 5, "dim": 2, "source": "x ``` y.npy"},
            "b": {"name": "texts", "rows": 5, "dim": 2, "source": "array"},
        },
        "gap": {"norm": 0.5, "mean_norm": {"a": 0.25, "b": 0.125}},
        "directions": [
            {
                "query": "a",
                "candidate": "b",
                "query_name": NAME,
                "candidate_name": "texts",
                "score": "cosine",
                "stress": [row],
                "recommendation": {"closer": closer, "score": "dot", "file": None},
            }
        ],
    }


def test_a_name_cannot_add_a_column_or_markup() -> None:
    text = render_markdown(small_report())
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert any(inert(NAME) in line for line in lines)
    tables = re.findall(r"(?:^\|.*\n?)+", text, re.M)
    assert len(tables) == 2
    for table in tables:
        bars = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(bars) == 1
    assert "<i>" not in text


def test_a_source_cannot_end_the_code_block() -> None:
    text = render_markdown(small_report())
    assert "````sh\n" in text
    shell = commands(small_report(), small_report()["directions"][0])
    assert "'x ``` y.npy'" in shell[0]
    assert "\n".join(shell) + "\n````" in text


@pytest.mark.parametrize("mark", list("\\`*_[]|#~"))
def test_every_mark_is_taken_apart(mark: str) -> None:
    assert inert(f"x{mark}y\nz") == f"x\\{mark}y z"


def test_numbers_are_those_of_the_dict() -> None:
    text = render_markdown(small_report())
    assert "0.500" in text
    assert "25.0%" in text  # one minus the consistency of 0.75
    assert "0.125" in text
