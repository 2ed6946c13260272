"""Pairs, labels and relevance that the rows contradict: named with their place; sound ones not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus.metrics.gap_report import measure
from isthmus.search import pair_rows as looked_at
from isthmus.search.opening import open_task
from isthmus.search.pair_warnings import look_at_pairs
from worlds import two_modalities, unit_rows

NAMES = ("image", "text")


def found(a: Any, b: Any, **said: Any) -> dict[str, str]:
    """Code -> text of what is said about pairs."""
    task = open_task(a, b, names=NAMES, **said)
    right = {name: said.get(name) for name in ("paired", "labels", "relevance")}
    return {w.code: w.text for w in look_at_pairs(task, NAMES, **right)[1]}


def test_a_skipped_row_is_named_with_its_place() -> None:
    a, b = two_modalities(400, 64)
    got = found(np.delete(a, 40, axis=0), b[:-1])
    assert list(got) == ["pairs-slipped"]
    assert "row i of image belongs to row i+1 of text from row 40 on" in got["pairs-slipped"]
    assert "probably image lacks 1 item" in got["pairs-slipped"]
    got = found(a[:-1], np.delete(b, 40, axis=0))
    assert "belongs to row i-1 of text from row 41 on; probably text lacks 1" in str(got)


def test_several_stretches_are_listed() -> None:
    a, b = two_modalities(400, 64)
    got = found(np.delete(a, [50, 150, 300], axis=0), b[:-3])["pairs-slipped"]
    for part in (
        "row i+1 of text from row 50 to 14",
        "row i+2 from row 149 to 29",
        "row i+3 from row 298",
    ):
        assert part in got
    assert "lacks 3 items" in got


def test_a_large_input_is_looked_at_in_stretches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that are scored are a sample, in which neighbours are gone; stretches are read again."""
    monkeypatch.setattr(looked_at, "MOST_ROWS", 800)
    a, b = two_modalities(3001, 48)
    np.save(tmp_path / "a.npy", np.delete(a, 1500, axis=0).astype(np.float32))
    np.save(tmp_path / "b.npy", b[:-1].astype(np.float32))
    paths = str(tmp_path / "a.npy"), str(tmp_path / "b.npy")
    got = found(*paths, max_rows=300, summarised=True)["pairs-slipped"]
    assert "row i+1 of text from somewhere between rows 1342 and 1657" in got
    np.save(tmp_path / "a.npy", a[:-1].astype(np.float32))
    assert found(*paths, max_rows=300, summarised=True) == {}


def test_rows_out_of_order_say_how_many_and_which() -> None:
    a, b = two_modalities(400, 64)
    rng = np.random.default_rng(0)
    order = np.arange(400)
    moved = np.sort(rng.permutation(400)[:320])
    order[moved] = rng.permutation(moved)
    got = found(a, b[order])["rows-out-of-order"]
    row = int(moved[0])
    assert f"row {row} of image finds row {int(np.flatnonzero(order == row)[0])}" in got
    share = int(got.split("%")[0].split()[-1])
    assert 70 <= share <= 85


def test_equal_lengths_by_accident_are_no_pairs() -> None:
    pictures, texts = two_modalities(300, 64)
    texts = texts[np.random.default_rng(1).permutation(300)]
    report = measure(pictures, texts, names=NAMES)
    assert [w.code for w in report.warnings] == ["measured-unpaired"]
    assert "say --paired where they are pairs" in report.warnings[0].text
    assert report["matched_cosine"] is None
    assert measure(pictures, texts, names=NAMES, paired=False).warnings == ()
    said = measure(pictures, texts, names=NAMES, paired=True)
    assert said["matched_cosine"] is not None
    assert said.warnings[0].code == "pairs-without-signal"
    assert said.warnings[0].severity == "broken"


def classes(seed: int = 4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """300 pictures of 12 classes, the class texts, and which is right."""
    rng = np.random.default_rng(seed)
    texts = rng.normal(size=(12, 48))
    labels = rng.integers(1, 11, size=300)
    return unit_rows(texts[labels] + 1.2 * rng.normal(size=(300, 48))), unit_rows(texts), labels


def test_labels_that_count_from_one_are_named() -> None:
    pictures, texts, labels = classes()
    assert found(pictures, texts, labels=labels) == {}
    got = found(pictures, texts, labels=labels + 1)
    assert list(got) == ["labels-off"]
    assert (
        "row numbers of text have to be moved by -1 from row 0 on, counted in image"
        in got["labels-off"]
    )


def test_labels_of_the_neighbouring_picture_are_named() -> None:
    """One label is missing, so that all later ones belong to the picture before."""
    pictures, texts, labels = classes()
    slipped = np.r_[np.delete(labels, 60), labels[-1]]
    got = found(pictures, texts, labels=slipped)
    assert list(got) == ["labels-off"]
    assert "row numbers of image have to be moved by +1 from row 60 on" in got["labels-off"]


@pytest.mark.parametrize("off", [-1, 1])
def test_relevance_that_is_off_by_one_is_named(off: int) -> None:
    pictures, _ = two_modalities(80, 48)
    rng = np.random.default_rng(1)
    captions = unit_rows(np.repeat(pictures, 5, axis=0) + 0.02 * rng.normal(size=(400, 48)))
    pairs = np.column_stack([np.repeat(np.arange(80), 5), np.arange(400)])
    assert found(pictures, captions, relevance=pairs) == {}
    for moved, side in (
        (pairs + np.array([0, off]), "text"),
        (pairs + np.array([off, 0]), "image"),
    ):
        kept = moved[((moved >= 0) & (moved < (80, 400))).all(axis=1)]
        got = found(pictures, captions, relevance=kept)
        assert list(got) == ["relevance-off"]
        assert f"of {side} have to be moved by {-off:+d}" in got["relevance-off"]


def test_labels_of_other_rows_carry_no_signal() -> None:
    pictures, texts, labels = classes()
    got = found(pictures, texts, labels=np.random.default_rng(9).permutation(labels))
    assert "the labels do not seem to be of these rows" in got["pairs-without-signal"]
