"""A grid to a file: killed, resumed, cut differently, and always the same bytes."""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import commands
from isthmus.closers.many import fit_many
from isthmus.data.moments import Moments
from isthmus.robustness import COLUMNS, Perturbation, reseeded, run, run_grid, stress, stress_runs
from isthmus.search import scores
from isthmus.search.task import RetrievalTask
from refusals import refused
from worlds import fitted, task_of, two_modalities, unit_rows

PERTURBATIONS = [
    Perturbation("gaussian", "candidates", 0.02, "total"),
    Perturbation("gaussian", "both", 0.02, "spread"),
    Perturbation("sq8", "candidates", 1.0),
    Perturbation("truncation", "both", 8.0),
]


def work() -> dict[str, Any]:
    q, c = two_modalities(50, 16, seed=1)
    names = ("none", "mean-shift", "center-queries", "orthogonal-shift")
    closers = [
        fitted("none", q, c, score="dot"),
        fitted("none", q, c, score="euclidean"),
        *(fitted(n, q, c) for n in names),
    ]
    tasks: dict[int, RetrievalTask] = {s: task_of(q, c, seed=s) for s in (0, 1)}
    return {
        "tasks": tasks,
        "closers": closers,
        "perturbations": PERTURBATIONS,
        "trials": 6,
        "control_trials": 2,
    }


def test_the_table_has_a_row_per_closer_perturbation_and_seed(tmp_path: Path) -> None:
    out = tmp_path / "t.parquet"
    seen: list[tuple[int, int]] = []
    rows = run_grid(**work(), out=out, say=lambda done, of: seen.append((done, of)))
    assert len(rows) == 6 * 4 * 2
    assert seen[0] == (0, 8)
    assert seen[-1] == (8, 8)
    table = pq.ParquetFile(out, pre_buffer=False).read().to_pylist()
    assert tuple(table[0])[: len(COLUMNS)] == COLUMNS
    for stored, row in zip(table, rows, strict=True):
        assert {k: v for k, v in stored.items() if v is not None} == {
            k: v for k, v in row.items() if v is not None
        }
    assert [r["seed"] for r in rows] == [0] * 24 + [1] * 24
    assert rows[0]["closer"] == "none"
    assert [r["family"] for r in rows[:4]] == ["gaussian", "gaussian", "sq8", "truncation"]
    assert [r["trials"] for r in rows[:4]] == [6, 2, 1, 1]
    assert not list(tmp_path.glob("*.journal"))


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tmp_path / "whole.parquet"
    run_grid(**work(), out=whole)
    out = tmp_path / "t.parquet"
    journal = tmp_path / "t.parquet.journal"

    class Killed(Exception):
        pass

    def stop_at(step: int) -> Any:
        def say(done: int, of: int) -> None:
            if done == step:
                raise Killed

        return say

    for step in (1, 3, 5):  # killed three times, resumed each time
        with pytest.raises(Killed):
            run_grid(**work(), out=out, say=stop_at(step))
        assert not out.exists()
        assert journal.exists()
    played: list[Perturbation] = []
    real = run.measure_perturbation

    def watched(task: Any, searches: Any, perturbation: Perturbation, **options: Any) -> Any:
        played.append(perturbation)
        return real(task, searches, perturbation, **options)

    monkeypatch.setattr(run, "measure_perturbation", watched)
    run_grid(**work(), out=out)
    assert played == PERTURBATIONS[1:]  # what was done is not done again
    assert out.read_bytes() == whole.read_bytes()
    assert not journal.exists()


def test_a_second_run_on_the_same_output_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "t.json"

    def again(done: int, of: int) -> None:
        if done == 1:
            with refused("file-in-use", "t.json.journal", "another run"):
                run_grid(**work(), out=out)

    assert json.loads(json.dumps(run_grid(**work(), out=out, say=again))) == json.loads(
        out.read_text()
    )


def test_a_journal_whose_steps_were_swapped_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "t.json"

    def stop(done: int, of: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_grid(**work(), out=out, say=stop)
    with closing(sqlite3.connect(f"{out}.journal")) as base:
        for old, new in ((0, 9), (1, 0), (9, 1)):
            base.execute("UPDATE steps SET number = ? WHERE number = ?", (new, old))
        base.commit()
    with refused("damaged-journal", "step 0", "delete it"):
        run_grid(**work(), out=out)


@pytest.mark.slow
def test_another_grids_journal_is_not_gone_on_with(tmp_path: Path) -> None:
    out = tmp_path / "t.json"
    given = work()

    def stop(done: int, of: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_grid(**given, out=out, say=stop)
    fresh = run_grid(**{**given, "trials": 7})
    assert run_grid(**{**given, "trials": 7}, out=out) == fresh
    assert json.loads(out.read_text()) == fresh


@pytest.mark.slow
def test_neither_batches_nor_blocks_change_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run_grid(**work())
    monkeypatch.setattr(run, "BATCH_NUMBERS", 1)  # one closer at a time beside the plain ones
    assert run_grid(**work()) == whole
    monkeypatch.setattr(scores, "BLOCK_ELEMENTS", 50 * 7)  # seven queries at a time
    assert run_grid(**work()) == whole


PROGRAM = """
import sys
sys.path[:0] = {tests!r}
from pathlib import Path
from test_stress_run import work
from isthmus.robustness import run_grid
run_grid(**work(), out=Path(sys.argv[1]))
"""


@pytest.mark.slow
def test_the_number_of_threads_changes_no_byte(tmp_path: Path) -> None:
    import os

    here, there = tmp_path / "here.parquet", tmp_path / "there.parquet"
    run_grid(**work(), out=here)
    env = os.environ | {"OPENBLAS_NUM_THREADS": "3", "OMP_NUM_THREADS": "3"}
    code = PROGRAM.format(tests=[str(Path(__file__).parent), str(Path(__file__).parents[1])])
    subprocess.run([sys.executable, "-c", code, str(there)], check=True, env=env, timeout=120)
    assert here.read_bytes() == there.read_bytes()


def test_refusals(tmp_path: Path) -> None:
    given = work()
    with refused("nothing-to-stress", "one seed"):
        run_grid(**{**given, "perturbations": []})
    with refused("unknown-suffix", "t.csv", ".parquet"):
        run_grid(**given, out=tmp_path / "t.csv")


# --- the whole workflow -------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    a, b = two_modalities(40, 12, seed=3)
    np.save(tmp_path / "a.npy", a.astype(np.float32))
    np.save(tmp_path / "b.npy", b.astype(np.float32))
    monkeypatch.chdir(tmp_path)
    return tmp_path


WORDS = [
    "--perturb",
    "gaussian,rabitq,truncation",
    "--kept",
    "6",
    "--levels",
    "0.02",
    "--trials",
    "4",
    "--seeds",
    "2",
    "--closers",
    "center-queries,procrustes,realign",
    "--controls",
]


def test_the_command_prints_and_writes_what_the_function_returns(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = commands.run(capsys, "stress", "a.npy", "b.npy", *WORDS, "--out", "t.parquet")
    assert code == 0
    assert "center-queries:random" in out
    assert "truncation 6 on both" in out
    rows = pq.ParquetFile(files / "t.parquet").read().to_pylist()
    assert {r["seed"] for r in rows} == {0, 1}
    assert {r["closer"] for r in rows} >= {"none", "center-queries", "procrustes", "realign"}
    assert {r["flip_reference"] for r in rows} == {"own"}
    assert f"Wrote {len(rows)} rows to t.parquet." in out
    code, out, err = commands.run(capsys, "stress", "a.npy", "b.npy", *WORDS, "--json")
    assert code == 0
    assert "center-queries" in err
    table = stress(
        np.load("a.npy"),
        np.load("b.npy"),
        perturb=["gaussian", "rabitq", "truncation"],
        kept=[6],
        levels=[0.02],
        trials=4,
        seeds=2,
        closers=["center-queries", "procrustes", "realign"],
        controls=True,
    )
    assert json.loads(out) == table.rows()
    assert len(table.averaged()) == len(rows) / 2
    assert "a.npy" not in table.save("t.html").read_text("utf-8")
    with refused("unknown-suffix", "t.csv"):
        table.save("t.csv")


def test_another_seed_draws_other_halves_of_the_same_rows() -> None:
    task = task_of(*two_modalities(30, 8, seed=2))
    again = reseeded(task, 5)
    assert again.queries is task.queries
    assert again.relevance is task.relevance
    for half, count in ((again.candidate_calibration, 30), (again.query_calibration, 30)):
        assert len(half) == count // 2
        assert (np.diff(half) > 0).all()
    assert not np.array_equal(again.candidate_calibration, task.candidate_calibration)
    twice = reseeded(task, 5).candidate_calibration
    np.testing.assert_array_equal(twice, again.candidate_calibration)


def test_no_seed_scores_a_query_that_closers_were_fitted_on(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}

    def fitted_on(methods: Any, queries: Moments, *rest: Any, **options: Any) -> Any:
        seen.update(moments=queries, options=options)
        return fit_many(methods, queries, *rest, **options)

    def watched(tasks: dict[int, RetrievalTask], *rest: Any, **options: Any) -> Any:
        seen["tasks"] = tasks
        return run_grid(tasks, *rest, **options)

    monkeypatch.setattr(stress_runs, "fit_many", fitted_on)
    monkeypatch.setattr(stress_runs, "run_grid", watched)
    closers = ["center-queries", "procrustes", "realign"]
    table = stress(
        "a.npy", "b.npy", fit_share=0.5, seeds=3, trials=2, levels=[0.02], closers=closers
    )
    scored = seen["tasks"][0].queries
    rows = unit_rows(np.load(files / "a.npy"))
    fit = rows[[i for i, row in enumerate(rows) if np.abs(scored - row).max(axis=1).min() > 1e-6]]
    assert len(fit) + len(scored) == 40
    np.testing.assert_allclose(seen["moments"].mean, fit.mean(axis=0), atol=1e-6)
    for task in seen["tasks"].values():
        assert task.queries is scored
    assert seen["options"]["pairs"] is None
    assert seen["options"]["query_rows"] is None
    assert table.notes == (
        "procrustes is left out: it is fitted on the scored queries' pairs; give paired rows and "
        "no fit share",
        "realign is left out: it is fitted on rows of the scored queries; give no fit share",
    )


@pytest.mark.parametrize(
    ("options", "code", "fact"),
    [
        ({"perturb": "dust"}, "unknown-family", "'dust'"),
        ({"closers": "dust"}, "unknown-closer", "'dust'"),
        ({"perturb": []}, "nothing-to-stress", "one perturbation"),
        ({"seeds": 0}, "bad-number", "seeds 0; expected"),
        ({"trials": 0}, "bad-number", "trials 0; expected"),
        ({"max_queries": 1}, "bad-number", "2 queries"),
        ({"fit_share": 1.0}, "bad-share", "1.0"),
        ({"fit_share": 0.99}, "too-few-queries", "40 queries leaves 40 to fit on and 0"),
        ({"targets": "texts"}, "unknown-target", "'texts'"),
        ({"levels": [-0.1]}, "bad-level", "-0.1"),
        ({"levels": []}, "nothing-to-stress", "one perturbation"),
        ({"convention": "sd"}, "unknown-convention", "'sd'"),
        ({"score": "l2"}, "unknown-score", "'l2'"),
        ({"out": "t.csv"}, "unknown-suffix", ".parquet"),
        ({"labels": [0] * 40, "paired": True}, "relevance-twice", "paired"),
    ],
)
def test_stress_refuses(options: dict[str, Any], code: str, fact: str, files: Path) -> None:
    with refused(code, fact):
        stress("a.npy", "b.npy", **options)
    assert sorted(p.name for p in files.iterdir()) == ["a.npy", "b.npy"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--strengths", "much"), "--strengths much: expected numbers, such as 0.5,1"),
        (("--kept", "-3"), "--kept -3: expected dimensions to keep, or shares below 1"),
        (("--kept", "inf"), "--kept inf: expected dimensions to keep, or shares below 1"),
        (("--levels", "nan"), "--levels nan: expected numbers"),
        (("--page", "t.pdf"), "--page t.pdf: a page is a .html file"),
        (("--out", "t.csv"), "the table is a .parquet or .json file"),
    ],
)
def test_the_command_refuses(
    words: tuple[str, str], sentence: str, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = commands.run(capsys, "stress", "a.npy", "b.npy", *words)
    assert code == 1
    assert out == ""
    assert sentence in " ".join(err.split())
    assert sorted(p.name for p in files.iterdir()) == ["a.npy", "b.npy"]


def test_the_page_runs(files: Path) -> None:
    page = (Path(__file__).parents[2] / "docs/stress.md").read_text(encoding="utf-8")
    block = re.search(r"<!-- runnable: stress -->\n```python\n(.*?)^```$", page, re.M | re.S)
    assert block is not None
    for old, new in (("a.npy", "captions.npy"), ("b.npy", "images.npy")):
        Path(old).rename(new)
    left: dict[str, Any] = {}
    exec(compile(block[1], "docs/stress.md", "exec"), left)
    assert len(left["frame"]) == len(left["table"].rows())
    assert Path("stress.html").exists()


def test_a_table_says_that_its_pairs_slip() -> None:
    a, b = two_modalities(120, 24)
    asked = {"perturb": "sq8", "closers": "center-queries", "trials": 1}
    assert stress(a, b, **asked).warnings == ()
    found = stress(np.delete(a, 30, axis=0), b[:-1], **asked)
    assert [w["code"] for w in found.to_dict()["warnings"]] == ["pairs-slipped"]
