"""What is right, as people keep it: ids, grades, qrels and names of classes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import ndcg_score

from commands import run
from isthmus.data import ArraySource
from isthmus.data.judgement_files import judgements_of, read_judgements
from isthmus.data.judgements import Judgements
from isthmus.robustness.mixed import ndcg_at, ranked_gain
from isthmus.search.opening import item_notes, open_task
from isthmus.search.relevance import Relevance, relevance_by_judgements, relevance_of
from isthmus.search.scores import top_k
from refusals import refused
from worlds import two_modalities

RNG = np.random.default_rng(0)
ASKED = ArraySource(RNG.normal(size=(6, 4)), "asked", ids=np.array([f"q{i}" for i in range(6)]))
FOUND = ArraySource(RNG.normal(size=(9, 4)), "found", ids=np.array([f"d {i}" for i in range(9)]))
QRELS = [("q0", "d 3", 2), ("q0", "d 8", 1), ("q4", "d 0", 3), ("q4", "d 1", 0), ("q5", "d 5", 1)]
WANTED = {(0, 3): 2.0, (0, 8): 1.0, (4, 0): 3.0, (5, 5): 1.0}
"""What QRELS are in row numbers: a grade of 0 is judged and not relevant."""


def right(given: Any, asked: Any = ASKED, found: Any = FOUND, **said: Any) -> Relevance:
    """What is right among two sources."""
    said = said or {"relevance": given}
    return relevance_of(asked.rows, found.rows, **said, sources=(asked, found))


def graded(found: Relevance) -> dict[tuple[int, int], float]:
    """(query row, candidate row) -> grade."""
    grades = np.ones(len(found.pairs)) if found.grades is None else found.grades
    return {(int(q), int(c)): float(g) for (q, c), g in zip(found.pairs, grades, strict=True)}


def text(name: str, lines: list[str], end: str = "\n") -> Callable[[Path], str]:
    def write(folder: Path) -> str:
        (folder / name).write_text(end.join(lines), encoding="utf-8")
        return f"{folder / name}"

    return write


def table(name: str, key: str = "") -> Callable[[Path], str]:
    """QRELS under the names of BEIR, as the format's own library writes them."""
    columns = dict(zip(("query-id", "corpus-id", "score"), zip(*QRELS, strict=True), strict=True))

    def write(folder: Path) -> str:
        path, made = folder / name, pa.table(columns)
        if path.suffix == ".parquet":
            pq.write_table(made, path)
        elif path.suffix == ".arrow":
            with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, made.schema) as out:
                out.write_table(made)
        elif path.suffix == ".jsonl":
            path.write_text("\n".join(map(json.dumps, made.to_pylist())))
        else:
            path.write_text(json.dumps(made.to_pylist()))
        return f"{path}{key}"

    return write


BEIR = ["query-id\tcorpus-id\tscore", *("\t".join(map(str, line)) for line in QRELS)]
TREC = [f"{q}\t0\t{c}\t{g}" for q, c, g in QRELS]


@pytest.mark.parametrize(
    "make",
    [
        text("test.tsv", BEIR),
        text("test.tsv", [*BEIR, ""], "\r\n"),
        text("test.qrels", TREC),
        text("r.csv", [line.replace("\t", ",") for line in BEIR]),
        text("r.csv", [f'"{q}","{c}",{g}' for q, c, g in QRELS]),
        text("r.csv", ["a,b,note,n", *(f"{q},{c},x,{g}" for q, c, g in QRELS)]),
        table("r.parquet"),
        table("r.arrow"),
        table("r.jsonl"),
        table("r.json"),
        table("r.json", ":query-id,corpus-id,score"),
        lambda folder: {"q0": {"d 3": 2, "d 8": 1}, "q4": {"d 0": 3, "d 1": 0}, "q5": {"d 5": 1}},
        lambda folder: tuple(zip(*QRELS, strict=True)),
    ],
)
def test_graded_judgements_by_id(tmp_path: Path, make: Callable[[Path], Any]) -> None:
    given = make(tmp_path)
    if isinstance(given, str) and given.endswith("r.csv") and "note" in Path(given).read_text():
        given += ":a,b,n"
    found = right(given)
    assert graded(found) == WANTED
    assert found.notes == ()
    turned = found.reversed()
    assert graded(turned) == {(c, q): grade for (q, c), grade in WANTED.items()}
    some = found.restricted(np.array([4, 0]), np.array([8, 0, 3]))
    assert graded(some) == {(0, 1): 3.0, (1, 0): 1.0, (1, 2): 2.0}


def test_a_mapping_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text(json.dumps({"q0": {"d 3": 2, "d 8": 1}, "q4": {"d 1": 0}}))
    assert graded(right(tmp_path / "r.json")) == {(0, 3): 2.0, (0, 8): 1.0}


@pytest.mark.parametrize(
    "given", [[("q0", "d 3"), ("q4", "d 0")], np.array([["q0", "d 3"], ["q4", "d 0"]])]
)
def test_pairs_of_ids(tmp_path: Path, given: Any) -> None:
    assert graded(right(given)) == {(0, 3): 1.0, (4, 0): 1.0}
    for header in ([], ["query_id,candidate_id"]):
        spec = text("p.csv", [*header, *(",".join(pair) for pair in given)])(tmp_path)
        found = right(spec)
        assert graded(found) == {(0, 3): 1.0, (4, 0): 1.0}
        assert found.grades is None


def test_whole_numbers_are_rows_unless_the_file_says_ids(tmp_path: Path) -> None:
    ids = [ArraySource(s.read(), "n", ids=np.arange(s.rows)[::-1] + 3) for s in (ASKED, FOUND)]
    plain = ArraySource(ASKED.read()), ArraySource(FOUND.read())
    for lines in (["3,4", "5,8"], ["query,candidate", "3,4", "5,8"]):
        assert graded(right(text("a.csv", lines)(tmp_path), *ids)) == {(3, 4): 1.0, (5, 8): 1.0}
    for lines in (["query-id,corpus-id", "3,4", "5,8"], ["3 0 4 1", "5 0 8 1"]):
        spec = text("a.csv" if "," in lines[1] else "a.txt", lines)(tmp_path)
        assert graded(right(spec, *ids)) == {(5, 7): 1.0, (3, 3): 1.0}
        assert graded(right(spec, *plain)) == {(3, 4): 1.0, (5, 8): 1.0}
    assert graded(right([[3, 4], [5, 8]], *ids)) == {(3, 4): 1.0, (5, 8): 1.0}
    with_grades = text("g.txt", ["3 4 2", "5 8 0.5"])(tmp_path)
    assert graded(right(with_grades, *ids)) == {(3, 4): 2.0, (5, 8): 0.5}


def test_an_id_of_several_rows_names_all_of_them() -> None:
    chunks = ArraySource(FOUND.read(), "c", ids=np.array([f"d{i // 3}" for i in range(9)]))
    assert graded(right({"q1": {"d1": 2}, "q2": {"d0": 1}}, ASKED, chunks)) == {
        **{(1, row): 2.0 for row in (3, 4, 5)},
        **{(2, row): 1.0 for row in (0, 1, 2)},
    }
    twice = right((["q1", "q1"], ["d 4", "d 4"], [1, 3]))
    assert graded(twice) == {(1, 4): 3.0}


def test_unknown_ids_are_counted_and_said() -> None:
    found = right({"q0": {"d 3": 1, "d 99": 1}, "q7": {"d 1": 2}})
    assert graded(found) == {(0, 3): 1.0}
    (note,) = found.notes
    assert note.code == "unknown-ids"
    assert "2 of 3 judgements" in note.text
    task = open_task(ASKED, FOUND, relevance={"q0": {"d 3": 1, "d 99": 1}})
    assert "unknown-ids" in [w.code for w in item_notes(task.reversed())]
    with refused("unknown-ids", "none of 1 judgements", "'x'"):
        right({"x": {"y": 1}})


@pytest.mark.parametrize(
    ("lines", "code", "fact"),
    [
        (["q0 0 d1 1", "q1 0 d1"], "bad-line", "line 2"),
        (["q0 0 d1 1", "q1 0 d1 x"], "bad-line", "'q1 0 d1 x' in line 2"),
        (["q0,d1,one", "q0,d1,two"], "bad-line", "line 2"),
        (["0,3", "1,x"], "bad-line", "two whole numbers"),
        (["q0 0 d1 0"], "unknown-ids", "'d1'"),
        (["qid,doc_id,gain", "q0,d 1,0"], "ambiguous-column", "FILE:QUERY,CANDIDATE,GRADE"),
        ([], "no-numbers", "holds no number"),
        (["a,b,c,d,e", "1,2,3,4,5"], "bad-line", "two whole numbers"),
    ],
)
def test_lines_that_are_no_judgements(
    tmp_path: Path, lines: list[str], code: str, fact: str
) -> None:
    with refused(code, fact):
        right(text("r.csv" if "," in "".join(lines) else "r.txt", lines)(tmp_path))


def test_what_cannot_be_joined_is_refused(tmp_path: Path) -> None:
    plain = ArraySource(FOUND.read(), "plain")
    with refused("no-ids", "'d 3' is the id of a row"):
        right({"q0": {"d 3": 1}}, ASKED, plain)
    with refused("no-relevance", "no grade"):
        right({"q0": {"d 3": 0}})
    with refused("bad-grade", "no number"):
        right((["q0"], ["d 3"], ["high"]))
    with refused("unequal-lengths", "unequal"):
        right((["q0"], ["d 3", "d 4"], [1]))
    with refused("row-out-of-range", "relevance, candidate column"):
        right((["0"], ["9"], [1]), ASKED, plain)
    spec = table("r.jsonl")(tmp_path)
    with refused("unknown-column", "'title'"):
        right(f"{spec}:query-id,title")
    with refused("unequal-lengths", "names 1 columns"):
        right(f"{spec}:query-id")
    (tmp_path / "other.jsonl").write_text('{"left": "q0", "right": "d 3"}')
    with refused("no-columns", "FILE:QUERY,CANDIDATE"):
        right(tmp_path / "other.jsonl")
    assert graded(right(f"{tmp_path}/other.jsonl:left,right")) == {(0, 3): 1.0}


def test_relevance_by_ids_and_what_is_said_without_it() -> None:
    a, b = two_modalities(60, 8)
    names = np.array([f"n{i}" for i in range(60)])
    order = np.random.default_rng(1).permutation(60)
    asked, found = ArraySource(a, ids=names), ArraySource(b[order], ids=names[order])
    task = open_task(asked, found, relevance="ids")
    assert graded(task.relevance) == {(int(row), i): 1.0 for i, row in enumerate(order)}
    assert task.relevance.notes == ()
    for said in ({}, {"paired": True}):
        (note,) = open_task(asked, found, **said).relevance.notes
        assert note.code == "ids-not-joined"
        assert "60 ids are on both sides" in note.text
    assert open_task(asked, ArraySource(b, ids=names)).relevance.notes == ()
    others = ArraySource(b, ids=np.array([f"caption {i}" for i in range(60)]))
    assert open_task(asked, others).relevance.notes == ()
    with refused("unknown-ids", "no id in common"):
        open_task(asked, others, relevance="ids")
    with refused("no-ids", "both sides"):
        open_task(asked, b, relevance="ids")
    more = ArraySource(np.vstack([b, b[:1] * 2]), ids=np.append(names, "extra"))
    (note,) = open_task(more, asked, relevance="ids").relevance.notes
    assert "1 of 61 queries" in note.text


CLASSES = ArraySource(FOUND.read()[:3], "classes", ids=np.array(["red fox", "owl", "cat"]))
LABELS = ["owl", "cat", "owl", "red fox", "cat", "owl"]


@pytest.mark.parametrize(
    "make",
    [
        text("l.txt", LABELS),
        text("l.txt", ["species", *LABELS]),
        lambda folder: (
            text("l.csv", ["id,species", *(f"{i},{x}" for i, x in enumerate(LABELS))])(folder)
            + ":species"
        ),
        lambda folder: (
            text("l.jsonl", [json.dumps({"y": x, "z": 1}) for x in LABELS])(folder) + ":y"
        ),
        lambda folder: (
            pq.write_table(pa.table({"y": LABELS}), folder / "l.parquet"),
            f"{folder}/l.parquet",
        )[1],
        lambda folder: (np.save(folder / "l.npy", LABELS), folder / "l.npy")[1],
        lambda folder: LABELS,
        lambda folder: np.array(LABELS),
    ],
)
def test_names_of_classes_are_labels(tmp_path: Path, make: Callable[[Path], Any]) -> None:
    found = right(None, ASKED, CLASSES, labels=make(tmp_path))
    assert found.task == "zero-shot"
    assert [row for _, row in sorted(graded(found))] == [1, 2, 1, 0, 2, 1]


def test_labels_that_cannot_be_joined(tmp_path: Path) -> None:
    plain = ArraySource(CLASSES.read())
    assert CLASSES.ids is not None
    given = right(None, ASKED, plain, labels=(LABELS, CLASSES.ids.tolist()))
    assert [row for _, row in sorted(graded(given))] == [1, 2, 1, 0, 2, 1]
    with refused("no-ids", "[candidate_names.index(name) for name in names]", "'owl'"):
        right(None, ASKED, plain, labels=LABELS)
    with refused("unequal-lengths", "5 labels for 6 queries"):
        right(None, ASKED, CLASSES, labels=LABELS[:5])
    with refused("unknown-ids", "'x'"):
        right(None, ASKED, CLASSES, labels=["x"] * 6)
    (note,) = right(None, ASKED, CLASSES, labels=[*LABELS[:5], "wolf"]).notes
    assert "1 of 6 queries" in note.text
    assert "'wolf'" in note.text
    spec = text("l.csv", ["id,y", *(f"{i},{i % 3}" for i in range(6))])(tmp_path)
    found = right(None, ASKED, plain, labels=f"{spec}:y")
    assert [row for _, row in sorted(graded(found))] == [0, 1, 2, 0, 1, 2]


def test_ndcg_with_grades_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(4)
    queries, documents = rng.normal(size=(30, 8)), rng.normal(size=(50, 8))
    grades = rng.integers(0, 4, size=(30, 50)) * (rng.random((30, 50)) < 0.2)
    grades[:, 0] = np.maximum(grades[:, 0], 1)
    given = np.argwhere(grades > 0)
    judged = relevance_by_judgements(given, 30, 50, grades[grades > 0].astype(float))
    task = open_task(queries, documents, relevance=judged, score="dot")
    scores = queries @ documents.T
    for k in (1, 5, 10, 50):
        wanted = [ndcg_score(g[None], s[None], k=k) for g, s in zip(grades, scores, strict=True)]
        best = top_k(task.plain(), k).rows
        np.testing.assert_allclose(ndcg_at(best, judged, k), wanted, atol=1e-12)
    best = top_k(task.plain(), 7).rows
    np.testing.assert_allclose(ranked_gain(task, 7), ndcg_at(best, judged, 7))
    plain = relevance_by_judgements(given, 30, 50)
    wanted = [ndcg_score((g > 0)[None], s[None], k=10) for g, s in zip(grades, scores)]
    np.testing.assert_allclose(ndcg_at(top_k(task.plain(), 10).rows, plain, 10), wanted)


def test_of_an_item_the_highest_grade_counts() -> None:
    judged = relevance_by_judgements([[0, 1], [0, 2], [1, 3]], 2, 4, np.array([1.0, 3.0, 2.0]))
    items = np.array([0, 1, 1, 0])
    shared = judged.shared(None, items)
    assert graded(shared) == {(0, 1): 3.0, (0, 2): 3.0, (1, 0): 2.0, (1, 3): 2.0}
    assert graded(shared.merged(np.arange(2), items)) == {(0, 1): 3.0, (1, 0): 2.0}
    assert graded(judged.merged(np.zeros(2, np.int64), items)) == {(0, 0): 2.0, (0, 1): 3.0}


def test_commands_take_qrels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    a, b = two_modalities(40, 32)
    for name, side in (("a", a), ("b", b)):
        lines = [{"id": f"{name}{i}", "embedding": row} for i, row in enumerate(side.tolist())]
        Path(f"{name}.jsonl").write_text("\n".join(map(json.dumps, lines)))
    lines = [f"a{i}\t0\tb{i}\t{1 + i % 3}" for i in range(40)] + ["a1\t0\tnone\t1"]
    Path("test.qrels").write_text("\n".join(lines))
    words = ("a.jsonl", "b.jsonl", "--relevance", "test.qrels")
    code, _, err = run(capsys, "audit", *words, "--trials", "1", "--out", "r")
    assert code == 0, err
    report = json.loads(Path("r/report.json").read_text())
    clean = report["directions"][0]["clean"]
    assert clean["judged"] == 40
    assert 0 < clean["ndcg@10"] <= 1
    assert "unknown-ids" in [w["code"] for w in report["warnings"]]
    assert "nDCG@10" in Path("r/report.html").read_text()
    for command in ("stress", "recommend", "calibrate"):
        code, out, err = run(capsys, command, *words, "--json")
        assert code == 0, err
        assert "1 of 41 judgements" in " ".join((out + err).split())
    code, out, _ = run(capsys, "compare", "a.jsonl", *words, "--json")
    assert code == 0
    assert json.loads(out)["accuracy"]["judged"] == 40
    words = ("mixed", "a.jsonl", "b.jsonl", "a.jsonl", "--relevance-a", "test.qrels", "--json")
    code, out, err = run(capsys, *words)
    assert code == 0, err


def test_a_plain_file_comes_back_as_row_numbers(tmp_path: Path) -> None:
    spec = text("r.csv", ["0,3", "1,4"])(tmp_path)
    assert not isinstance(read_judgements(spec), Judgements)
    assert judgements_of([[0, 3]]) == [[0, 3]]
