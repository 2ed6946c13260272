"""Lists of neighbours from files and columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from isthmus.data.neighbours import read_neighbours
from refusals import refused


def columns(depth: int = 12) -> list[Any]:
    """Three queries, each with ``depth`` candidates by name, in mixed order."""
    query = np.repeat([0, 1, 2], depth)
    names = [f"id-{(7 * i) % 40}" for i in range(3 * depth)]
    score = np.random.default_rng(0).random(3 * depth)
    order = np.random.default_rng(1).permutation(3 * depth)
    return [query[order], np.array(names)[order], score[order]]


def written(path: Path, given: list[Any], header: bool) -> str:
    if path.suffix == ".parquet":
        pq.write_table(pa.table(dict(zip(("query", "id", "score"), given))), path)
        return str(path)
    sign = "\t" if path.suffix == ".tsv" else ","
    lines = [sign.join(map(str, line)) for line in zip(*given)]
    path.write_text("\n".join([sign.join(("query", "id", "score"))] * header + lines))
    return str(path)


@pytest.mark.parametrize("name", ["a.parquet", "a.csv", "a.tsv"])
@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("distances", [True, False])
def test_files_give_what_columns_give(
    name: str, header: bool, distances: bool, tmp_path: Path
) -> None:
    given = columns()
    found = read_neighbours(written(tmp_path / name, given, header), 3, distances=distances)
    plain = read_neighbours(given, 3, distances=distances)
    np.testing.assert_array_equal(found.rows, plain.rows)
    np.testing.assert_allclose(found.scores, plain.scores, rtol=1e-12)
    assert found.depth == 12
    sign = 1 if distances else -1
    for i in range(3):
        mine = given[0] == i
        order = np.argsort(sign * given[2][mine])
        np.testing.assert_array_equal(plain.scores[i], given[2][mine][order])
        names = given[1][mine][order]
        known = np.unique(given[1])
        np.testing.assert_array_equal(known[plain.rows[i]], names)


def test_shorter_lists_are_filled_up() -> None:
    query, names, score = (part[3:] for part in columns(14))
    found = read_neighbours([query, names, score], 3, distances=False)
    held = found.rows >= 0
    assert found.depth == held.sum(axis=1).min() < 14
    assert np.isnan(found.scores[~held]).all()
    assert np.isfinite(found.scores[held]).all()


@pytest.mark.parametrize(
    ("change", "code", "fact"),
    [
        (lambda c: c[:2], "bad-neighbours", "three columns"),
        (lambda c: [c[0] + 0.5, *c[1:]], "bad-neighbours", "float64"),
        (lambda c: [c[0] + 1, *c[1:]], "bad-neighbours", "no query from 0 to 2"),
        (lambda c: [*c[:2], np.where(c[0] == 1, np.nan, c[2])], "bad-neighbours", "finite"),
        (lambda c: [np.where(c[0] == 1, 0, c[0]), *c[1:]], "too-few-neighbours", "0 neighbours"),
        (lambda c: [c[0], np.full(len(c[0]), "x"), c[2]], "candidate-twice", "query 0"),
    ],
)
def test_what_is_no_list_is_refused(change: Any, code: str, fact: str) -> None:
    with refused(code, fact):
        read_neighbours(change(columns()), 3, distances=False)


def test_files_that_are_none_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{}")
    with refused("unknown-suffix", ".json"):
        read_neighbours(tmp_path / "a.json", 3, distances=False)
    (tmp_path / "a.csv").write_text("1,2,3\n4,5\n")
    with refused("damaged-file", "a.csv"):
        read_neighbours(tmp_path / "a.csv", 3, distances=False)
    with refused("no-such-file", "b.csv"):
        read_neighbours(tmp_path / "b.csv", 3, distances=False)
