"""What every store must do, on real stores that the tests start."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from kinds import FIELDS, KINDS, NORMALISED, SLOW, scores_of
from worlds_of_stores import best

import isthmus as im
from campaigns.deploys import run_store
from commands import run
from isthmus.deploy import stores
from isthmus.deploy.stores import sampling, trial, trying
from isthmus.errors import IsthmusError
from refusals import refused

pytestmark = pytest.mark.stores
EXACT = list(stores.CLOSERS)
EVERY = [
    (name, score, method)
    for name in KINDS
    for score in scores_of(name)
    for method in (EXACT if name != SLOW else EXACT[-1:])
]


@pytest.mark.parametrize("name", KINDS)
def test_rows_come_out_as_they_went_in(name: str, filled: Callable, world: tuple) -> None:
    rows = im.open_rows(filled(name))
    same(name, rows.read(), world[1])
    same(name, rows.take([5, 200, 5]), world[1][[5, 200, 5]])
    assert [len(b) for b in rows.blocks(100)] == [100, 100, 40]
    assert [number(one) for one in rows.ids] == list(range(1, 241))
    gone = ["gone"] if rows.ids.dtype.kind == "U" else [10_000]
    asked = np.concatenate([gone, rows.ids[[7, 3]]])
    same(name, stores.open_store(rows.spec).fetch(asked), world[1][[7, 3]])


def same(name: str, rows: np.ndarray, expected: np.ndarray) -> None:
    """Equal in every bit, or in float32's precision where a store normalises."""
    np.testing.assert_allclose(rows, expected, rtol=0, atol=1e-6 if name in NORMALISED else 0)


def number(one: object) -> int:
    """The number that an id has or ends in."""
    return int(str(one).rpartition(":")[2])


@pytest.mark.parametrize("name", FIELDS)
def test_one_modality_of_a_shared_column(name: str, filled: Callable, world: tuple) -> None:
    address = filled(name)
    texts = im.open_rows(address + "&modality=kind:text")
    same(name, texts.read(), world[1][1::2])
    assert texts.name == "text"


@pytest.mark.parametrize(("name", "score", "method"), EVERY)
def test_exact_closers_keep_every_answer(
    name: str, score: str, method: str, filled: Callable, world: tuple, tmp_path: Path
) -> None:
    queries, candidates = world
    address = filled(name, score)
    own = score if method == "orthogonal-shift" and score == "cosine" else "dot"
    own = "euclidean" if method == "biased-shift" else own  # which it is fitted for by default
    closer = im.fit(method, queries, candidates, score=own)
    made = stores.deploy(closer, address, out=tmp_path)
    assert made.items == made.written == 240 or made.column == ""
    check = stores.check_deployment(closer, address, queries, out=tmp_path)
    assert (check.exact, check.before, check.after) == (1.0, 1.0, 1.0)
    found = pasted(tmp_path).search(queries[7], 3)
    assert [number(one) - 1 for one in found] == best(queries, candidates)[7].tolist()


def pasted(folder: Path):
    """The query side as a user runs it."""
    spec = importlib.util.spec_from_file_location("query_side", folder / "query.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", KINDS)
def test_undo_removes_only_what_deploy_made(
    name: str, filled: Callable, world: tuple, tmp_path: Path
) -> None:
    address = filled(name)
    source = stores.open_store(address)
    before, closer = held(source), im.fit("center-both", *world)
    stores.deploy(closer, address, column="closed", out=tmp_path)
    with refused("not-deployed", "image"):
        stores.undo(closer, address, column="image")
    assert "closed" in stores.undo(closer, address, column="closed")
    with refused("not-deployed", "closed"):
        stores.check_deployment(closer, address, world[0], column="closed", out=tmp_path)
    same(name, im.open_rows(address).read(), world[1])
    assert held(stores.open_store(address)) == before


@pytest.mark.parametrize("name", KINDS)
def test_another_closer_does_not_take_the_column(
    name: str, filled: Callable, world: tuple, tmp_path: Path
) -> None:
    address = filled(name)
    one, two = im.fit("center-both", *world), im.fit("center-both", *world, strength=0.5)
    stores.deploy(one, address, column="taken", out=tmp_path / "one")
    with refused("column-exists", "taken"):
        stores.deploy(two, address, column="taken", out=tmp_path / "two")

    with refused("other-deployment", "taken", "--undo"):
        stores.check_deployment(two, address, world[0], column="taken", out=tmp_path / "two")


@pytest.mark.parametrize("name", KINDS)
def test_a_mistyped_table_is_one_sentence(name: str, filled: Callable) -> None:
    address = filled(name)
    wrong = re.sub(r"(table|collection|key|index)=\w+", r"\1=wrong", address)
    if wrong == address:
        pytest.skip("its place is its only name")
    with pytest.raises(IsthmusError) as found:
        im.open_rows(wrong)
    assert found.value.code == "store-refused"
    if name.startswith("sqlite"):
        assert "has no table 'wrong'; it has items0" in str(found.value)


@pytest.mark.parametrize(
    ("name", "where"), [*((name, '{"kind": oops') for name in KINDS), ("qdrant", '{"oops": 1}')]
)
def test_a_mistyped_filter_is_one_sentence(name: str, where: str, filled: Callable) -> None:
    address = filled(name)
    code = "no-filter" if name in ("faiss", "qdrant-edge") else "store-refused"
    with refused(code, "where"):
        im.open_rows(f"{address}{'&' if '?' in address else '?'}where={quote(where)}")


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("chroma:{}?collection=a", "is no folder of Chroma"),
        ("lancedb:{}?table=a&column=b", "is no folder of LanceDB"),
        ("qdrant:{}?collection=a", "is no folder of Qdrant"),
        ("qdrant-edge:{}?vector=a", "is no folder of a Qdrant shard"),
        ("sqlite:{}?table=a&column=b", "is no file of SQLite"),
        ("redis://localhost:1/0?key=a", "check the address, and that the server runs: "),
        ("postgresql://localhost:1/a?table=b&column=c", "that the server runs: "),
    ],
)
def test_where_nothing_is_one_sentence_says_so(address: str, said: str, tmp_path: Path) -> None:
    with refused("store-unreachable", said):
        im.open_rows(address.format(tmp_path / "none"))


def test_the_other_direction_is_not_written(filled: Callable, world: tuple, tmp_path: Path) -> None:
    address, given = filled("faiss"), {"column": "other", "out": tmp_path / "out"}
    closer = im.fit("center-both", world[1], world[0])
    with refused("other-side", "center-both", "--even-if-worse"):
        stores.deploy(closer, address, **given)
    assert not (tmp_path / "out").exists()
    assert "other way round" in stores.deploy(closer, address, even_if_worse=True, **given).warning
    stores.undo(closer, address, **given)


@pytest.mark.parametrize("method", ["center-both", "none"])
def test_the_query_side_works_from_any_folder_and_goes_with_undo(
    method: str, filled: Callable, world: tuple, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Path(filled("faiss").removeprefix("faiss:"))
    monkeypatch.chdir(place.parent)
    closer, address = im.fit(method, *world, score="dot"), f"faiss:{place.name}"
    stores.deploy(closer, address, column="moved")
    made = place.parent / "isthmus-deploy-moved"
    monkeypatch.chdir(tmp_path)
    assert [one - 1 for one in pasted(made).search(world[0][7], 3)] == best(*world)[7].tolist()
    monkeypatch.chdir(place.parent)
    with refused("not-deployed", "moved"):
        stores.undo(im.fit("center-both", *world, strength=0.5), address, column="moved_not")
    assert made.exists()
    stores.undo(closer, address, column="moved")
    assert not made.exists()


@pytest.mark.parametrize("name", KINDS)
def test_a_killed_run_goes_on(name: str, filled: Callable, tmp_path: Path) -> None:
    """Two points; ``python -m campaigns deploys`` (from ``tests``) kills at 20 on each store."""
    at = [("put", 3, "after"), ("put", 4, "0.002")]
    found = run_store(name, filled(name), tmp_path, at)
    assert {what for what, count in found.items() if count} == {"kills"}
    assert found["kills"] == 2


@pytest.mark.parametrize("name", KINDS)
def test_advice_of_a_sample_writes_nothing_to_the_users(
    name: str, filled: Callable, world: tuple, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sample has the index and the codec; it is gone at the end, and after Ctrl-C."""
    address, seen = filled(name), []
    source = stores.open_store(address)
    before, names = held(source), list(EXACT if name != SLOW else EXACT[-1:])
    real = trial.try_closer

    def watched(closer: im.Closer, sample: sampling.Sample, *given: object) -> tuple:
        facts, own = sample.store.describe(), source.describe()
        assert replace(facts, rows=0, dtype="") == replace(own, rows=0, dtype="")
        answer = real(closer, sample, *given)
        seen.append((facts.rows, held(source, sampled=True)))
        return answer

    monkeypatch.setattr(trying, "try_closer", watched)
    advice = stores.recommend_in_store(address, world[0], closers=names, max_candidates=150)
    assert advice.choice == "none"  # float vectors: nothing is lost, so nothing is gained
    assert [line["closer"] for line in advice.tried] == ["none", *names]
    assert all(line["kept"] == 1.0 for line in advice.tried)
    zero = "+0.0 (+0.0 to +0.0)"
    table = [" ".join(line.split()) for line in advice.sentences()]
    assert all(f"{name} 100.0% {zero} {zero}" in table for name in names)
    assert seen == [(advice.items[0], before)] * len(names)
    assert 150 <= advice.items[0] < advice.items[1] == 240
    assert not advice.left
    assert held(source) == before

    def stopped(*given: object) -> None:
        real(*given)
        raise KeyboardInterrupt

    monkeypatch.setattr(trying, "try_closer", stopped)
    with pytest.raises(KeyboardInterrupt):
        stores.recommend_in_store(address, world[0], closers=names)
    assert held(source) == before


def held(source: stores.Store, *, sampled: bool = False) -> list[str]:
    """What there is beside, and what the user's table has; with ``sampled`` less the sample."""
    kind, base = type(source).__name__, source.connection
    if kind == "Pgvector":
        names = base.execute(
            "SELECT table_schema || '.' || table_name || '.' || column_name "
            "FROM information_schema.columns WHERE table_schema !~ 'catalog|information'"
        ).fetchall()
        names = [name for (name,) in names]
    elif kind == "QdrantEdge":
        names = list(source._config)
    elif kind in ("VectorSet", "RediSearch"):
        names = [*base.keys("*"), *base.execute_command("FT._LIST")]
        if kind == "RediSearch":
            names += base.hkeys(source.ids()[0])
    elif kind in ("Chroma", "Milvus"):
        names = [getattr(one, "name", one) for one in base.list_collections()]
    elif kind == "Qdrant":
        names = [one.name for one in base.get_collections().collections]
    elif kind == "LanceDB":
        names = source._database.list_tables(limit=None).tables
    elif kind == "SQLite":
        names = [row[0] for row in base.execute("SELECT sql FROM sqlite_master")]
    else:
        names = [path.name for path in Path(source.address.place).parent.iterdir()]
    found = sorted(one.decode() if isinstance(one, bytes) else str(one) for one in names)
    return [one for one in found if not sampled or "isthmus_sample" not in one]


def lance_index(source: stores.Store) -> None:
    one_list = {"distance_type": "dot", "num_partitions": 1}
    source.connection.create_index("image", config=source.library.index.IvfSq(**one_list))
    source.__dict__.pop("_indexed", None)


def edge_codes(source: stores.Store) -> None:
    def change(config: dict) -> dict:
        config["vectors"]["image"]["quantization_config"] = {"scalar": {"type": "int8"}}
        config["optimizers"] = {"indexing_threshold": 1}
        return config

    source.connection.again(change)


def faiss_probes(source: stores.Store) -> None:
    import faiss

    faiss.extract_index_ivf(source.connection.faiss).nprobe = 2


SETTINGS: list[tuple[str, str, Callable[[stores.Store], None]]] = [
    ("faiss", "?codec=IVF4,SQ8&score=dot", faiss_probes),
    ("lancedb", "&partitions=1", lance_index),
    ("qdrant-edge", "", edge_codes),
    ("redis", "&codec=int8", lambda source: None),
    ("sqlite", "&codec=binary", lambda source: None),
    ("sqlite vec0", "", lambda source: None),
]
"""A store, what its address says, and the user's own settings."""


@pytest.mark.parametrize(("name", "more", "set_up"), SETTINGS)
def test_a_sample_answers_as_the_users(
    name: str, more: str, set_up: Callable, started: Callable, world: tuple, tmp_path: Path
) -> None:
    """Of all items it has the same index and codec, and so the same answers, right or wrong."""
    fill, score = started(name), "cosine" if name in ("redis", "sqlite vec0") else "dot"
    source = stores.open_store(fill(world[1], score) + more)
    set_up(source)
    made, _ = source.sample(source.ids(), tmp_path)
    asked = world[0], 5
    answers = [store.search(*asked, score=score) for store in (source, made)]
    assert made.describe() == source.describe()
    assert answers[0].tolist() == answers[1].tolist()
    if name != "sqlite vec0":  # which reads all vectors as they are
        assert made.describe().codec != "none"
        exact = best(*world, 5) + 1
        assert [[number(one) for one in row] for row in answers[0]] != exact.tolist()
    source.remove_sample()


LANCE = {
    "IvfPq": {"num_sub_vectors": 12, "num_bits": 4, "max_iterations": 20},
    "IvfHnswSq": {"num_partitions": 3, "m": 30, "ef_construction": 200, "sample_rate": 300},
    "IvfHnswPq": {"m": 12, "ef_construction": 90, "num_sub_vectors": 6, "num_bits": 4},
    "IvfRq": {"num_partitions": 2, "num_bits": 3, "sample_rate": 200},
}


@pytest.mark.parametrize("kind", LANCE)
def test_an_index_of_lancedb_is_made_again_with_its_settings(
    kind: str, started: Callable, world: tuple, tmp_path: Path
) -> None:
    from lancedb import index

    address = started("lancedb")(world[1], "dot")
    source = stores.open_store(address)
    config = getattr(index, kind)(distance_type="dot", **LANCE[kind])
    source.connection.create_index("image", config=config)
    closer, given = im.fit("center-both", *world), {"column": "closed", "out": tmp_path}
    made, _ = source.sample(source.ids()[:100], tmp_path)
    stores.deploy(closer, address, **given)
    for other in (made, source.at("closed")):
        assert other._indexed.index_details == source._indexed.index_details
        assert other._settings == source._settings
        assert LANCE[kind].items() <= other._settings.items()
    source.remove_sample()
    stores.undo(closer, address, **given)


@pytest.mark.parametrize("name", ["lancedb", "postgresql"])
def test_a_trial_finds_what_a_check_finds(
    name: str, started: Callable, world: tuple, tmp_path: Path
) -> None:
    """A graph looks further where ten are asked for; codes that tie come in the order of ids."""
    queries, items = np.tile(world[0], (5, 1)), world[1]  # 600, of which both send the same 500
    address = started(name)(items, "dot") + "&codec=binary" * (name == "postgresql")
    if name == "lancedb":
        graph = {"index_type": "IVF_HNSW_SQ", "num_partitions": 1}
        source = stores.open_store(address)
        source.connection.create_index(metric="dot", vector_column_name="image", **graph)
    closer, given = im.fit("center-both", *world), {"column": "closed", "out": tmp_path}
    said = stores.deploy(closer, address, queries=queries, even_if_worse=True, **given).tried
    before, after = map(int, re.findall(r"for (\d+) (?:today|with)", said))
    check = stores.check_deployment(closer, address, queries, **given)
    random = 15 if name == "lancedb" else 0  # a graph is built anew, with other random numbers
    assert abs(before - 500 * check.before) <= random + 1e-9
    assert abs(after - 500 * check.after) <= random + 1e-9
    one = stores.open_store(address).search(queries, 1, score="dot")[:, 0]
    found_by_one = int((one == best(queries, items, 1)[:, 0] + 1).sum())
    assert found_by_one < (before if name == "lancedb" else 600)
    stores.undo(closer, address, **given)


@pytest.mark.parametrize("name", [name for name in KINDS if name != SLOW])
def test_what_a_killed_run_left_is_named_and_removed(
    name: str, filled: Callable, world: tuple, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = filled(name)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    source = stores.open_store(address)
    before = held(source)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: gone.pid)
        folder = Path(tempfile.mkdtemp(prefix=sampling._FOLDER.format(gone.pid)))
        made = source.sample(source.ids()[:50], folder)
    if name == "postgresql":  # its table goes with the connection
        source.connection.close()
        source._connection = None
    left = [str(folder)]
    if name in ("chroma", "lancedb", "qdrant", "redis", "redisearch"):
        left.insert(0, made[0].address.changed(where=None).shown)
    advice = stores.recommend_in_store(address, world[0], closers=EXACT[-1:])
    assert len(advice.left) == len(left)
    assert advice.left[-1] == str(folder)
    assert advice.sentences()[0].startswith("removed what a run that was killed had left: ")
    assert not folder.exists()
    assert held(source) == before


def test_the_sample_of_a_run_that_goes_on_is_kept(filled: Callable, world: tuple) -> None:
    address = filled("lancedb")
    source = stores.open_store(address)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "getpid", lambda: other.pid)
            source.sample(source.ids()[:50], Path())
        with refused("sample-in-use", str(other.pid)):
            stores.recommend_in_store(address, world[0])
    assert len(source.remove_sample()) == 1


@pytest.mark.parametrize("strength", [0, 1])
@pytest.mark.parametrize("name", FIELDS)
def test_one_list_of_two_modalities(
    name: str, strength: float, filled: Callable, world: tuple
) -> None:
    queries, items = world
    parts = {"image": items[::2], "text": items[1::2]}
    moments = {kind: im.Moments.of(part) for kind, part in parts.items()}
    pool = im.PoolCloser.of(moments, strength)
    found = stores.search_mixed(pool, filled(name), queries, modality="kind")
    q = queries.astype(np.float64)
    levelled = np.empty((len(q), len(items)))
    for at, part in enumerate(parts.values()):
        scores = q @ part.astype(np.float64).T
        level, spread = scores.mean(1, keepdims=True), scores.std(1, keepdims=True)
        levelled[:, at::2] = (scores - level) / spread**strength
    expected = np.argsort(-levelled, axis=1)[:, :10]
    assert [[number(one) - 1 for one in row] for row in found.ids] == expected.tolist()
    assert (found.modality == np.array(["image", "text"])[expected % 2]).all()
    np.testing.assert_allclose(found.scores, np.take_along_axis(levelled, expected, 1), atol=1e-4)


@pytest.mark.parametrize("name", KINDS)
def test_the_whole_path_on_the_command_line(
    name: str, filled: Callable, world: tuple, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    address, made = filled(name), ("--column", "typed", "--out", tmp_path / "out", "--json")
    np.save(tmp_path / "queries.npy", world[0])
    closer = im.fit("center-both", *world)
    closer.save(tmp_path / "closer.safetensors")
    images = f"{address}&modality=kind:image" if name in FIELDS else address
    few = ("--trials", 2, "--levels", "0.02", "--out", tmp_path / "report", "--json")
    code, out, _ = run(capsys, "audit", images, tmp_path / "queries.npy", *few)
    assert code == 0
    side = world[1][::2] if name in FIELDS else world[1]
    expected = np.linalg.norm(side.mean(0) - world[0].mean(0))
    assert json.loads(out)["gap"]["norm"] == pytest.approx(expected, rel=1e-4)
    words = ("deploy", tmp_path / "closer.safetensors", address, *made)
    code, out, _ = run(capsys, *words, "--queries", tmp_path / "queries.npy")
    assert (code, json.loads(out)["items"]) == (0, 240)
    assert "for 120 today and for 120 with the closer" in json.loads(out)["tried"]
    code, out, _ = run(capsys, *words, "--check", tmp_path / "queries.npy")
    assert (code, json.loads(out)["after"]) == (0, 1.0)
    deployed = ("--closer", words[1], "--column", "typed", "--query-side", tmp_path / "out")
    products = world[0].astype(np.float64) @ world[1].astype(np.float64).T
    for through, found_by in (
        ((), "own search"),
        (deployed, "own search"),
        (("--exact",), "exact"),
    ):
        given = ("search", tmp_path / "queries.npy", address, "--k", 5, *through, "--json")
        code, out, err = run(capsys, *given)
        assert code == 0, err
        lists = json.loads(out)
        assert found_by in lists["by"]
        rows = np.array([[number(one) - 1 for one in line] for line in lists["candidates"]])
        assert rows.tolist() == best(*world, 5).tolist()
        if through != deployed:  # products; with a closer all of them move by a number of the query
            exact = np.take_along_axis(products, rows, axis=1)
            np.testing.assert_allclose(lists["scores"], exact, atol=1e-5)
        assert np.diff(lists["scores"]).max() <= 1e-6
    code, out, _ = run(capsys, *words, "--undo")
    assert (code, list(json.loads(out))) == (0, ["removed"])


def test_a_closer_that_loses_answers_is_not_written(
    filled: Callable, world: tuple, tmp_path: Path
) -> None:
    address = filled("faiss") + "?codec=PQ12x4np&score=dot"  # one more coordinate: 36, padded
    closer, given = im.fit("center-both", *world), {"column": "worse", "out": tmp_path}
    with refused("closing-hurts", "99 today and for 79"):
        stores.deploy(closer, address, queries=world[0], **given)
    with refused("not-deployed", "worse"):
        stores.undo(closer, address, column="worse")
    assert stores.deploy(closer, address, queries=world[0], even_if_worse=True, **given).tried
    stores.undo(closer, address, column="worse")
