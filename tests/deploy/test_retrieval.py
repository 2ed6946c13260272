"""Lists of candidates: against NumPy's order, and read back from every file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import isthmus as im
from commands import run
from isthmus.data.hit_files import HIT_FILES
from isthmus.data.neighbours import read_neighbours
from refusals import refused
from worlds import two_modalities

K = 12


@pytest.fixture(scope="module")
def rows() -> tuple[np.ndarray, np.ndarray]:
    """(40, 16) queries and (90, 16) candidates of unequal norms, float32."""
    a, b = two_modalities(90, 16, seed=5)
    return a[:40].astype(np.float32), (b * np.linspace(0.5, 2, 90)[:, None]).astype(np.float32)


def measured(q: np.ndarray, x: np.ndarray, score: str) -> np.ndarray:
    """Scores in float64, distances where Euclidean: (n, K)."""
    q, x = q.astype(np.float64), x.astype(np.float64)
    if score == "euclidean":
        return np.linalg.norm(q[:, None] - x[None], axis=2)
    products = q @ x.T
    if score == "cosine":
        products /= np.linalg.norm(q, axis=1)[:, None] * np.linalg.norm(x, axis=1)
    return products


@pytest.mark.parametrize("score", ["dot", "cosine", "euclidean"])
def test_the_order_and_the_scores_are_numpys(rows: Any, score: str) -> None:
    hits = im.retrieve(*rows, K, score=score)
    every = measured(*rows, score)
    order = np.argsort(every if score == "euclidean" else -every, axis=1)[:, :K]
    assert hits.candidates.tolist() == order.tolist()
    np.testing.assert_allclose(hits.scores, np.take_along_axis(every, order, 1), atol=1e-5)


@pytest.mark.parametrize(
    ("method", "score"), [("center-both", "dot"), ("orthogonal-shift", "euclidean")]
)
def test_a_closer_ranks_by_its_own_maps_and_bias(
    rows: Any, method: str, score: str, tmp_path: Path
) -> None:
    closer = im.fit(method, *rows, score=score)
    closer.save(tmp_path / "closer.safetensors")
    hits = im.retrieve(*rows, K, closer=tmp_path / "closer.safetensors")
    every = measured(closer.query(rows[0]), closer.candidate(rows[1]), score)
    every += closer.candidate_bias(rows[1])
    order = np.argsort(every if score == "euclidean" else -every, axis=1)[:, :K]
    assert hits.candidates.tolist() == order.tolist()
    np.testing.assert_allclose(hits.scores, np.take_along_axis(every, order, 1), atol=1e-5)
    assert (hits.closer, hits.score) == (method, score)
    with refused("score-not-offered", score):
        im.retrieve(*rows, K, closer=closer, score="cosine")


@pytest.mark.parametrize("suffix", HIT_FILES)
@pytest.mark.parametrize("score", ["cosine", "euclidean"])
@pytest.mark.parametrize("named", [False, True])
def test_what_is_written_is_read_as_neighbours(
    rows: Any, suffix: str, score: str, named: bool, tmp_path: Path
) -> None:
    ids = [None, None]
    if named:
        ids = [np.array([f"{side}-{i * 7}" for i in range(len(x))]) for side, x in zip("qx", rows)]
    for name, x, one in zip("qx", rows, ids):
        np.save(tmp_path / f"{name}.npy", x)
        if one is not None:
            (tmp_path / f"{name}.npy.ids.txt").write_text("\n".join(one))
    sources = [im.open_rows(tmp_path / f"{name}.npy") for name in "qx"]
    hits = im.retrieve(*sources, K, score=score)
    path = hits.save(tmp_path / f"hits{suffix}")
    found = read_neighbours(path, 40, distances=score == "euclidean", ids=ids[0])
    plain = im.retrieve(*rows, K, score=score)
    names = np.array(sorted({str(one) for one in hits.candidates.ravel()}))
    expected = plain.candidates if ids[1] is None else ids[1][plain.candidates]
    assert names[found.rows].tolist() == expected.astype(str).tolist()
    np.testing.assert_array_equal(found.scores, hits.scores)
    assert found.depth == K


def test_a_run_of_trec(rows: Any, tmp_path: Path) -> None:
    hits = im.retrieve(*rows, 2, score="euclidean")
    lines = hits.save(tmp_path / "hits.trec").read_text().splitlines()
    assert len(lines) == 80
    assert lines[3].split() == [
        *("1", "Q0", str(hits.candidates[1, 1]), "2", repr(-float(hits.scores[1, 1])), "isthmus")
    ]
    with refused("unknown-ids", "'0'"):
        read_neighbours(tmp_path / "hits.trec", 40, distances=True, ids=np.arange(1, 41))
    (tmp_path / "short.run").write_text("1 Q0 3\n")
    with refused("damaged-file", "line 1 has 3 columns"):
        read_neighbours(tmp_path / "short.run", 40, distances=True)
    spaced = im.open_rows(rows[1])
    object.__setattr__(spaced, "row_ids", np.array([f"a picture {i}" for i in range(90)]))
    with refused("id-with-space", "a picture"):
        im.retrieve(rows[0], spaced, 2).save(tmp_path / "spaced.run")


@pytest.mark.usefixtures("no_verdict")
def test_the_command_writes_what_the_audit_reads(
    rows: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("queries.npy", rows[0])
    np.save("gallery.npy", rows[1])
    np.savetxt("pairs.csv", np.stack([np.arange(40)] * 2, axis=1), fmt="%d", delimiter=",")
    words = ("search", "queries.npy", "gallery.npy", "--k", K)
    code, out, err = run(capsys, *words, "--out", "hits.parquet", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert np.shape(found["candidates"]) == np.shape(found["scores"]) == (40, K)
    code, out, _ = run(capsys, *words)
    assert code == 0
    assert out.startswith(f"{K} candidates for each of 40 queries, by exact search, cosine\n  0: ")
    few = ("--trials", 1, "--levels", "0.02", "--out", "report")
    beyond = ("--neighbours", "hits.parquet", "--gallery-rows", 90)
    code, _, err = run(
        capsys, "audit", "queries.npy", "gallery.npy", "--relevance", "pairs.csv", *few, *beyond
    )
    assert code == 0, err
    report = json.loads(Path("report/report.json").read_text())
    assert report["directions"][0]["gallery"]["by"] == "neighbours"
    code, _, err = run(capsys, *words[:3], "--k", 91)
    assert code == 1
    assert "expected 1 to 90" in err
