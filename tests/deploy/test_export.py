"""Export without torch: plain numbers, candidate bias as coordinates, ONNX graphs, the command."""

from __future__ import annotations

import json
import os
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bench.stores import stored_and_searched

from isthmus.cli.export import command as run
from isthmus.closers import METHODS
from isthmus.closers.closer import Closer, Guarantee
from isthmus.closers.maps import AffineMap, Chain
from isthmus.closers.verification import verify
from isthmus.deploy.export import (
    Evened,
    append_to_onnx,
    as_cosine,
    as_euclidean,
    as_inner_product,
    export_closer,
    from_json,
    rounding_bound,
    to_json,
    torch_module,
)
from isthmus.errors import CorruptFile
from isthmus.search.scores import Ranking, top1
from refusals import refused
from worlds import fitted, full_scores, two_modalities, unit_rows

DIM = 12
ROLES = ("query", "candidate")


def rows_of(seed: int = 1, n: int = 80) -> tuple[np.ndarray, np.ndarray]:
    """Two sides, not of unit norm."""
    lengths = np.random.default_rng(seed).uniform(0.5, 2.0, (2, n, 1))
    a, b = two_modalities(n, DIM, seed=seed)
    return a * lengths[0], b * lengths[1]


QUERIES, CANDIDATES = rows_of()
NEW_QUERIES, NEW_CANDIDATES = rows_of(seed=2, n=50)


def all_closers(queries: np.ndarray, candidates: np.ndarray) -> dict[str, Closer]:
    """Every closer of the table, some with options, raw rows, and two joined."""
    made = {name: fitted(name, queries, candidates) for name in METHODS}
    made["none, raw"] = fitted("none", queries, candidates, normalised=False)
    made["mean-shift, raw"] = fitted("mean-shift", queries, candidates, normalised=False)
    made["subspace, 5 left"] = fitted("subspace", queries, candidates, rank=5)
    made["biased-shift, candidates"] = fitted("biased-shift", queries, candidates, side="candidate")
    made["joined"] = made["centering"].then(made["whitening"])
    unscaled = fitted("centering", queries, candidates, renormalise=False)
    made["joined, unit rows between"] = unscaled.then(made["whitening"])
    return made


ALL = all_closers(QUERIES, CANDIDATES)


def test_the_closers_under_test_have_every_kind_of_map() -> None:
    sides = [(c, side) for c in ALL.values() for side in (c.query, c.candidate)]
    assert any(isinstance(side, Chain) for _, side in sides)
    assert any(side.dim_out < side.dim for _, side in sides)
    assert any(side.dim_out > side.dim for _, side in sides)
    assert {side.normalised for _, side in sides} == {True, False}
    assert {side.renormalised for _, side in sides} == {True, False}
    assert any(c.bias_weights is not None and c.score == "dot" for c in ALL.values())
    assert any(c.bias_weights is not None and c.score == "euclidean" for c in ALL.values())
    assert any(c.memo for c in ALL.values())


def close_to(rows: Any, expected: np.ndarray) -> None:
    """Equal within 1e-5 of the longest row (and of 1)."""
    expected = np.asarray(expected)
    size = max(1.0, float(np.linalg.norm(expected, axis=-1).max()))
    np.testing.assert_allclose(np.asarray(rows), expected, atol=1e-5 * size, rtol=0)


def answers(closer: Closer | Evened, queries: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    bias = closer.candidate_bias(candidates) if isinstance(closer, Closer) else None
    q, c = closer.apply(queries, "query"), closer.apply(candidates, "candidate")
    return top1(Ranking.of(q, c, closer.score, bias))


# -- plain numbers -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_json_reads_back_bit_by_bit(name: str) -> None:
    closer = ALL[name]
    back = from_json(to_json(closer))
    assert isinstance(back, Closer)
    assert (back.name, back.score, back.strength, back.memo, back.guarantee) == (
        closer.name,
        closer.score,
        closer.strength,
        closer.memo,
        closer.guarantee,
    )
    assert dict(back.facts) == dict(closer.facts)
    for role, rows in zip(ROLES, (NEW_QUERIES, NEW_CANDIDATES)):
        assert len(back.map_of(role).steps) == len(closer.map_of(role).steps)
        np.testing.assert_array_equal(back.apply(rows, role), closer.apply(rows, role))
    np.testing.assert_array_equal(
        back.candidate_bias(NEW_CANDIDATES), closer.candidate_bias(NEW_CANDIDATES)
    )
    assert to_json(back) == to_json(closer)


def by_recipe(stated: dict[str, Any], role: str, row: list[float]) -> tuple[list[float], float]:
    """The recipe of the file in plain Python: one row -> (closed row, its bias)."""

    def over_norm(x: list[float]) -> list[float]:
        norm = sum(v * v for v in x) ** 0.5
        return [v / norm for v in x]

    number = 0.0
    for place, step in enumerate(stated[role]):
        if step["unit_in"]:
            row = over_norm(row)
        if place == 0 and role == "candidate" and stated["bias"] is not None:
            number = sum(w * v for w, v in zip(stated["bias"], row))
        if step["matrix"] is not None:
            row = [sum(a * v for a, v in zip(line, row)) for line in step["matrix"]]
        if step["offset"] is not None:
            row = [v + b for v, b in zip(row, step["offset"])]
        if step["unit_out"]:
            row = over_norm(row)
    if "evened" in stated:
        even = stated["evened"]
        length = sum(v * v for v in row)
        rest = even["limit"] - even["squares"] * length - 2 * number
        row = [*row, rest**0.5 if role == "candidate" else 0.0]
        number = 0.0
    return row, number


@pytest.mark.parametrize("name", ALL)
def test_the_recipe_in_the_json_is_enough(name: str) -> None:
    stated = json.loads(to_json(ALL[name]))
    numbers = ALL[name].candidate_bias(NEW_CANDIDATES[:5])
    for role, rows in zip(ROLES, (NEW_QUERIES, NEW_CANDIDATES)):
        for row, out, number in zip(rows[:5], ALL[name].apply(rows[:5], role), numbers):
            closed, stored = by_recipe(stated, role, row.tolist())
            np.testing.assert_allclose(closed, out, atol=1e-9, rtol=1e-9)
            if role == "candidate":
                assert stored == pytest.approx(number, abs=1e-12)


@pytest.mark.parametrize(
    ("change", "code", "fact"),
    [
        (lambda t: t.update(isthmus="report"), "wrong-kind", "is no closer"),
        (lambda t: t.update(schema=9), "unknown-version", "schema 9"),
        (lambda t: t.pop("bias"), "damaged-file", "'bias'"),
        (lambda t: t["bias"].pop(), "damaged-file", "shape (11,)"),
        (lambda t: t["query"][0]["offset"].pop(), "damaged-file", "step 0 of query"),
        (lambda t: t["query"].clear(), "damaged-file", "query has no step"),
    ],
)
def test_damaged_json_is_refused(change: Any, code: str, fact: str) -> None:
    stated = json.loads(to_json(ALL["center-queries"]))
    change(stated)
    with refused(code, fact, kind=CorruptFile):
        from_json(json.dumps(stated))


def test_json_that_is_none_and_numbers_that_it_cannot_say() -> None:
    with refused("not-json", "no JSON"):
        from_json("{")
    broken = replace(ALL["none"], bias_weights=np.full(DIM, np.nan))
    with refused("not-finite", "not finite"):
        to_json(broken)


# -- the candidate bias as coordinates -----------------------------------------------------------

NOT_LINEAR = ("liang-shift", "standardise", "drop-dimensions", "procrustes", "gaussian-ot")
INNER = [name for name in ALL if name not in (*NOT_LINEAR, "joined, unit rows between")]


@pytest.mark.parametrize("name", INNER)
def test_inner_product_ranks_as_the_closer_does(name: str) -> None:
    closer = ALL[name]
    wide = as_inner_product(closer, CANDIDATES)
    assert (wide.score, wide.bias_weights) == ("dot", None)
    assert all(isinstance(step, AffineMap) for step in wide.candidate.steps)
    q, c = wide.apply(NEW_QUERIES, "query"), wide.apply(NEW_CANDIDATES, "candidate")
    before = Ranking.of(
        closer.apply(NEW_QUERIES, "query"),
        closer.apply(NEW_CANDIDATES, "candidate"),
        closer.score,
        closer.candidate_bias(NEW_CANDIDATES),
    )
    found = top1(before)
    np.testing.assert_array_equal(top1(Ranking.of(q, c, "dot")), found)
    _, scores = next(before.score_blocks())
    if closer.score != "cosine":  # differences between candidates are the very same numbers
        after = q @ c.T
        np.testing.assert_allclose(
            after - after[:, :1], scores - scores[:, :1], atol=1e-11 * np.abs(after).max()
        )


@pytest.mark.parametrize("name", ["biased-shift", "center-queries", "center-both", "span"])
def test_the_coordinate_fills_the_range_of_the_others(name: str) -> None:
    wide = as_inner_product(ALL[name], CANDIDATES)
    rows = wide.apply(CANDIDATES, "candidate")
    last, others = rows[:, -1], rows[:, :-1]
    assert last.min() == pytest.approx(others.min(), abs=1e-12)
    assert last.max() == pytest.approx(others.max(), abs=1e-12)
    assert wide.apply(QUERIES, "query")[:, -1] == pytest.approx(wide.facts["c"])
    assert verify(wide, NEW_QUERIES, NEW_CANDIDATES).holds is True
    assert verify(wide, QUERIES, CANDIDATES).holds is True


def test_the_coordinate_is_the_documents_formula() -> None:
    q, c = unit_rows(QUERIES), unit_rows(CANDIDATES)
    mean = q.mean(axis=0)
    number = c @ mean
    scale = np.ptp(number) / (c.max() - c.min())
    wide = as_inner_product(ALL["center-queries"], CANDIDATES)
    np.testing.assert_allclose(
        wide.apply(CANDIDATES, "candidate"),
        np.column_stack([c, c.min() + (number - number.min()) / scale]),
    )
    np.testing.assert_allclose(
        wide.apply(QUERIES, "query"), np.column_stack([q - mean, np.full(len(q), scale)])
    )


def test_a_closer_without_a_number_stays_as_it_is() -> None:
    assert as_inner_product(ALL["coral"], CANDIDATES).query is ALL["coral"].query
    assert as_inner_product(ALL["none"], CANDIDATES).candidate is ALL["none"].candidate
    raw = as_inner_product(ALL["none, raw"], CANDIDATES)
    assert raw.candidate.renormalised  # cosine of raw rows: candidates become unit rows
    assert raw.guarantee.kind == "none"


def test_a_memo_closer_keeps_the_coordinate_in_float_too() -> None:
    memo = replace(ALL["low-rank-memo"], bias_weights=np.ones(DIM))
    assert as_inner_product(memo, CANDIDATES).memo == memo.memo + 1


EVEN = [
    "biased-shift",
    "biased-shift, candidates",
    "center-queries",
    "center-both",
    "span",
    "subspace, 5 left",
    "low-rank-memo",
    "distribution-normalization",
]


@pytest.mark.parametrize("name", EVEN)
def test_cosine_and_euclidean_stores_rank_as_the_closer_does(name: str) -> None:
    closer = ALL[name]
    both = np.concatenate([CANDIDATES, NEW_CANDIDATES])
    found = answers(closer, NEW_QUERIES, both)
    for build, score in ((as_cosine, "cosine"), (as_euclidean, "euclidean")):
        even = build(closer, both)
        q, c = even.apply(NEW_QUERIES, "query"), even.apply(both, "candidate")
        assert c.shape[1] == even.dim_out == q.shape[1]
        slow = full_scores(q, c, score).argmax(axis=1)
        np.testing.assert_array_equal(slow, found)
        assert not q[:, -1].any()
        if score == "cosine":
            np.testing.assert_allclose((c**2).sum(axis=1), even.limit)


def test_a_euclidean_closer_needs_one_coordinate_that_ignores_lengths() -> None:
    closer = ALL["biased-shift"]
    even = as_euclidean(closer, CANDIDATES)
    q, c = even.apply(QUERIES, "query"), even.apply(CANDIDATES, "candidate")
    plain = -0.5 * full_scores(
        closer.apply(QUERIES, "query"), closer.apply(CANDIDATES, "candidate"), "euclidean"
    ) ** 2 + closer.candidate_bias(CANDIDATES)
    longer = -0.5 * full_scores(q, c, "euclidean") ** 2
    np.testing.assert_allclose(longer, plain - even.limit / 2, atol=1e-12)


def test_without_the_evening_coordinate_answers_differ() -> None:
    wide = as_inner_product(ALL["center-queries"], CANDIDATES)
    q, c = wide.apply(QUERIES, "query"), wide.apply(CANDIDATES, "candidate")
    assert (top1(Ranking.of(q, c, "cosine")) != top1(Ranking.of(q, c, "dot"))).any()


def test_candidates_beyond_the_limit_are_refused() -> None:
    raw = fitted("center-queries", QUERIES, CANDIDATES, normalised=False, score="dot")
    even = as_cosine(raw, CANDIDATES)
    with refused("beyond-limit", "1 of 3 candidates (first: row 1) exceed"):
        even.apply(np.stack([CANDIDATES[0], 9 * CANDIDATES[1], CANDIDATES[2]]), "candidate")
    wider = as_cosine(raw, CANDIDATES, headroom=100.0)
    assert np.isfinite(wider.apply(9 * CANDIDATES, "candidate")).all()
    with refused("number-too-small", "headroom -1; expected at least 0"):
        as_cosine(raw, CANDIDATES, headroom=-1)


def test_what_no_coordinate_carries_is_refused() -> None:
    none = Guarantee("cosine", "none", "test")
    bent = replace(
        ALL["mean-shift"], bias_weights=np.ones(DIM), candidate=AffineMap(DIM, renormalised=True)
    )
    with refused("bias-not-linear", "which no inner product ranks"):
        as_inner_product(bent, CANDIDATES)
    with refused("bias-not-linear", "no linear function of what comes out"):
        as_inner_product(replace(bent, score="dot", guarantee=none), CANDIDATES)
    raw = fitted("biased-shift", QUERIES, CANDIDATES, normalised=False)
    with refused("bias-not-linear", "use as_euclidean"):
        as_inner_product(raw, CANDIDATES)
    np.testing.assert_array_equal(
        answers(as_euclidean(raw, CANDIDATES), QUERIES, CANDIDATES),
        answers(raw, QUERIES, CANDIDATES),
    )
    with refused("no-bias", "use it as it is"):
        as_cosine(ALL["mean-shift"], CANDIDATES)
    with refused("no-bias", "use it as it is"):
        as_euclidean(ALL["orthogonal-shift"], CANDIDATES)
    with refused("too-few-rows", "no candidates were given"):
        as_inner_product(ALL["center-queries"], CANDIDATES[:0])


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("name", ["center-queries", "biased-shift", "center-both", "span"])
def test_scores_stay_within_the_bound_of_the_dtype(name: str, dtype: str) -> None:
    wide = as_inner_product(ALL[name], CANDIDATES)
    q, c = wide.apply(NEW_QUERIES, "query"), wide.apply(NEW_CANDIDATES, "candidate")
    exact = q @ c.T
    stored = c.astype(dtype).astype(np.float32)
    scores = q.astype(np.float32) @ stored.T
    bound = rounding_bound(q, c, dtype)
    worst = np.abs(scores - exact).max(axis=1)
    assert (worst <= bound).all()
    assert worst.max() > 0.01 * bound.max(), "a bound that says nothing"
    ordered = np.sort(exact, axis=1)
    clear = ordered[:, -1] - ordered[:, -2] > 2 * bound
    assert clear.mean() > (0.99 if dtype == "float32" else 0.8)
    same = scores.argmax(axis=1) == exact.argmax(axis=1)
    assert same[clear].all()


def test_the_bound_knows_two_dtypes() -> None:
    with refused("unknown-dtype", "float32, float16"):
        rounding_bound(QUERIES, CANDIDATES, "int8")


COCO = {  # of docs/export.md: answers kept (both ways) and largest error, per closer and store
    ("center-queries", as_inner_product): ((500, 500, 1.5e-7), (500, 500, 7e-5)),
    ("center-queries", as_cosine): ((500, 500, 1.2e-7), (500, 500, 5.1e-5)),
    ("center-queries", as_euclidean): ((500, 500, 2e-7), (499, 497, 3.3e-4)),
    ("biased-shift", as_inner_product): ((500, 500, 1e-6), (499, 494, 2.4e-4)),
    ("biased-shift", as_cosine): ((500, 500, 8e-7), (499, 497, 2.5e-4)),
    ("biased-shift", as_euclidean): ((500, 500, 1.6e-7), (499, 496, 3.2e-4)),
}


@pytest.mark.real_data
@pytest.mark.parametrize(("name", "build"), COCO)
def test_coordinates_in_single_and_half_precision_on_coco(name: str, build: Any) -> None:
    folder = os.environ.get("ISTHMUS_REAL_DATA")
    if not folder:
        pytest.skip("real embeddings are not here: ISTHMUS_REAL_DATA names no folder")
    images, captions = np.load(Path(folder) / "modgap/features_clip.npy").astype(np.float64)
    for way, (q, c) in enumerate(((images, captions), (captions, images))):
        before = top1(Ranking.of(unit_rows(q), unit_rows(c), "dot"))
        wide = build(fitted(name, q, c), c)
        for dtype, expected in zip(("float32", "float16"), COCO[name, build]):
            found, error, bound = stored_and_searched(wide, q, c, dtype)
            slack = 0 if dtype == "float32" else 1  # sums may round otherwise elsewhere
            assert abs((found == before).sum() - expected[way]) <= slack
            assert expected[2] / 4 < error < expected[2]
            assert error < bound or wide.score == "euclidean"


def test_evened_closers_are_json_too() -> None:
    for even in (
        as_cosine(ALL["center-both"], CANDIDATES),
        as_euclidean(ALL["biased-shift"], CANDIDATES),
    ):
        back = from_json(to_json(even))
        assert isinstance(back, Evened)
        np.testing.assert_array_equal(
            back.apply(CANDIDATES, "candidate"), even.apply(CANDIDATES, "candidate")
        )
        stated = json.loads(to_json(even))
        for role, rows in zip(ROLES, (QUERIES, CANDIDATES)):
            for row, out in zip(rows[:5], even.apply(rows[:5], role)):
                np.testing.assert_allclose(by_recipe(stated, role, row.tolist())[0], out, atol=1e-9)


# -- ONNX ----------------------------------------------------------------------------------------


def write_encoder(
    path: Path, *, outputs: int = 1, half: bool = False, beside: bool = False, width: int = DIM
) -> np.ndarray:
    """A linear encoder (batch, 7) -> rows (batch, DIM); its matrix."""
    onnx = pytest.importorskip("onnx")
    helper, kinds = onnx.helper, onnx.TensorProto
    weights = np.random.default_rng(4).normal(size=(7, width)).astype(np.float32)
    nodes = [helper.make_node("MatMul", ["features", "weights"], ["product"])]
    kind = kinds.FLOAT16 if half else kinds.FLOAT
    nodes.append(helper.make_node("Cast", ["product"], ["rows"], to=kind))
    shown = [helper.make_tensor_value_info("rows", kind, ["n", width])]
    if outputs > 1:  # an inner consumer of the rows keeps the open ones
        nodes.append(helper.make_node("Neg", ["rows"], ["other"]))
        shown.append(helper.make_tensor_value_info("other", kind, ["n", width]))
    graph = helper.make_graph(
        nodes,
        "encoder",
        [helper.make_tensor_value_info("features", kinds.FLOAT, ["n", 7])],
        shown,
        [onnx.numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    more = {"save_as_external_data": True, "location": "w.data", "size_threshold": 0}
    onnx.save_model(model, str(path), **(more if beside else {}))
    return weights


def ran(path: Path, features: np.ndarray) -> dict[str, np.ndarray]:
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [node.name for node in session.get_outputs()]
    entry = session.get_inputs()[0].name
    return dict(zip(names, session.run(names, {entry: features})))


FEATURES = np.random.default_rng(5).normal(size=(9, 7)).astype(np.float32)


@pytest.mark.parametrize("name", ALL)
def test_onnx_gives_the_numpy_rows(name: str, tmp_path: Path) -> None:
    rows = FEATURES @ write_encoder(tmp_path / "encoder.onnx")
    closer = ALL[name]
    for role in ROLES:
        names = append_to_onnx(tmp_path / "encoder.onnx", closer, role, tmp_path / "closed.onnx")
        found = ran(tmp_path / "closed.onnx", FEATURES)
        close_to(found["rows"], closer.apply(rows, role))
        numbered = role == "candidate" and closer.bias_weights is not None
        assert list(found) == names == (["rows", "stored_number"] if numbered else ["rows"])
        if numbered:
            close_to(found["stored_number"], closer.candidate_bias(rows))
        one = ran(tmp_path / "closed.onnx", FEATURES[:1])
        close_to(one["rows"], closer.apply(rows[:1], role))


@pytest.mark.parametrize("build", [as_inner_product, as_cosine, as_euclidean])
@pytest.mark.parametrize("name", ["center-queries", "center-both", "biased-shift"])
def test_onnx_carries_the_coordinates(name: str, build: Any, tmp_path: Path) -> None:
    rows = FEATURES @ write_encoder(tmp_path / "encoder.onnx")
    wide = build(ALL[name], np.concatenate([CANDIDATES, rows]))
    for role in ROLES:
        names = append_to_onnx(tmp_path / "encoder.onnx", wide, role, tmp_path / "closed.onnx")
        assert names == ["rows"]
        close_to(ran(tmp_path / "closed.onnx", FEATURES)["rows"], wide.apply(rows, role))


def test_onnx_with_several_outputs_half_precision_and_weights_beside(tmp_path: Path) -> None:
    closer = ALL["center-both"]
    weights = write_encoder(tmp_path / "two.onnx", outputs=2)
    with refused("ambiguous-output", "has the outputs rows, other; say output="):
        append_to_onnx(tmp_path / "two.onnx", closer, "query", tmp_path / "out.onnx")
    append_to_onnx(tmp_path / "two.onnx", closer, "query", tmp_path / "out.onnx", output="rows")
    found = ran(tmp_path / "out.onnx", FEATURES)
    close_to(found["rows"], closer.apply(FEATURES @ weights, "query"))
    close_to(found["other"], -FEATURES @ weights)

    write_encoder(tmp_path / "half.onnx", half=True)
    append_to_onnx(tmp_path / "half.onnx", closer, "query", tmp_path / "out.onnx")
    found = ran(tmp_path / "out.onnx", FEATURES)
    assert found["rows"].dtype == np.float32
    close_to(found["rows"], closer.apply((FEATURES @ weights).astype(np.float16), "query"))

    write_encoder(tmp_path / "big.onnx", beside=True)
    for _ in range(2):  # written again over itself, the data do not grow
        append_to_onnx(tmp_path / "big.onnx", closer, "query", tmp_path / "out.onnx")
        size = (tmp_path / "out.onnx.data").stat().st_size
        close_to(
            ran(tmp_path / "out.onnx", FEATURES)["rows"], closer.apply(FEATURES @ weights, "query")
        )
    append_to_onnx(tmp_path / "big.onnx", closer, "query", tmp_path / "out.onnx")
    assert (tmp_path / "out.onnx.data").stat().st_size == size


def test_onnx_says_what_is_in_it_and_refuses_twice(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    write_encoder(tmp_path / "encoder.onnx")
    closer = ALL["center-queries"]
    append_to_onnx(tmp_path / "encoder.onnx", closer, "candidate", tmp_path / "closed.onnx")
    stated = {e.key: e.value for e in onnx.load(tmp_path / "closed.onnx").metadata_props}
    assert json.loads(stated["isthmus_closer"])["name"] == "center-queries"
    assert json.loads(stated["isthmus_closer"])["score"] == "dot"
    with refused("closer-twice", "has a closer behind it already"):
        append_to_onnx(tmp_path / "closed.onnx", closer, "candidate", tmp_path / "more.onnx")
    with refused("same-file", "is the encoder itself"):
        append_to_onnx(tmp_path / "encoder.onnx", closer, "query", tmp_path / "encoder.onnx")
    with refused("unknown-role", "query, candidate"):
        append_to_onnx(tmp_path / "encoder.onnx", closer, "both", tmp_path / "x.onnx")  # type: ignore[arg-type]
    with refused("no-such-model", "cannot load"):
        append_to_onnx(tmp_path / "nothing.onnx", closer, "query", tmp_path / "x.onnx")
    write_encoder(tmp_path / "wide.onnx", width=DIM + 1)
    with refused("unequal-dimensions", "has 13 dimensions, the closer 12"):
        append_to_onnx(tmp_path / "wide.onnx", closer, "query", tmp_path / "x.onnx")
    assert not (tmp_path / "x.onnx").exists()


def test_the_built_in_model_closes_in_its_own_graph(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    from isthmus.encoders.emoji_world import data_file

    pictures = np.random.default_rng(0).integers(0, 256, (40, 3, 32, 32)).astype(np.uint8)
    raw = ran(Path(data_file("gap-image.onnx")), pictures)
    (name, rows), *_ = raw.items()
    rng = np.random.default_rng(1)
    closer = fitted("center-queries", rows, rng.normal(size=(90, rows.shape[1])))
    append_to_onnx(data_file("gap-image.onnx"), closer, "query", tmp_path / "closed.onnx")
    close_to(ran(tmp_path / "closed.onnx", pictures)[name], closer.apply(rows, "query"))


# -- what is missing, and the command ------------------------------------------------------------


def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with refused("missing-extra", "pip install 'isthmus[torch]'"):
        torch_module(ALL["none"], "query")
    with refused("missing-extra", "pip install 'isthmus[onnx]'"):
        append_to_onnx(tmp_path / "a.onnx", ALL["none"], "query", tmp_path / "b.onnx")


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    closer = ALL["center-queries"]
    closer.save(tmp_path / "closer.safetensors")
    run(tmp_path / "closer.safetensors", to="json", out=tmp_path / "closer.json", json=True)
    assert json.loads(capsys.readouterr().out)["stored_number"] is True
    back = from_json((tmp_path / "closer.json").read_text(encoding="utf-8"))
    np.testing.assert_array_equal(back.apply(QUERIES, "query"), closer.apply(QUERIES, "query"))
    run(tmp_path / "closer.json", to="closer", out=tmp_path / "again.safetensors")
    assert "to be searched by dot" in capsys.readouterr().out


def test_forms_for_a_store(tmp_path: Path) -> None:
    closer = ALL["center-queries"]
    np.save(tmp_path / "rows.npy", CANDIDATES)
    stored = {"store": "inner-product", "candidates": tmp_path / "rows.npy"}
    made = export_closer(closer, to="closer", out=tmp_path / "wide.safetensors", **stored)
    assert (made.score, made.has_bias) == ("dot", False)
    found = answers(Closer.load(made.out), QUERIES, CANDIDATES)
    np.testing.assert_array_equal(found, answers(closer, QUERIES, CANDIDATES))
    features = write_encoder(tmp_path / "encoder.onnx")
    behind = {"model": tmp_path / "encoder.onnx", "role": "query"}
    stored = {"store": "cosine", "candidates": CANDIDATES}
    made = export_closer(closer, to="onnx", out=tmp_path / "out.onnx", **behind, **stored)
    assert made.to_dict() == {
        "closer": "center-queries+coordinate+evened",
        "form": "onnx",
        "score": "cosine",
        "stored_number": False,
        "out": str(made.out),
        "outputs": ["rows"],
        "role": "query",
    }
    expected = as_cosine(closer, CANDIDATES).apply(FEATURES @ features, "query")
    close_to(ran(made.out, FEATURES)["rows"], expected)


@pytest.mark.parametrize(
    ("to", "options", "code", "fact"),
    [
        ("pickle", {}, "unknown-form", "closer, json"),
        ("json", {"model": "x"}, "model-with-form", "leave it out"),
        ("onnx", {}, "model-with-form", "name the encoder's file"),
        ("onnx", {"model": "x"}, "unknown-role", "query or candidate"),
        ("json", {"store": "cosine"}, "store-without-candidates", ""),
        ("json", {"store": "hamming", "candidates": "x"}, "unknown-store", "inner-product"),
        ("closer", {"store": "cosine", "candidates": CANDIDATES}, "store-with-form", "or onnx"),
        ("closer", {}, "unknown-suffix", "a closer is a .safetensors file"),
    ],
)
def test_forms_that_are_refused(
    to: str, options: dict[str, Any], code: str, fact: str, tmp_path: Path
) -> None:
    with refused(code, fact):
        export_closer(ALL["center-queries"], to=to, out=tmp_path / "out.bin", **options)
    assert list(tmp_path.iterdir()) == []


def test_a_closers_file_that_is_not_there(tmp_path: Path) -> None:
    with refused("no-such-file", "no.json"):
        export_closer(tmp_path / "no.json", to="json", out=tmp_path / "out.json")


# -- the page ------------------------------------------------------------------------------------

PAGE = Path(__file__).parents[2] / "docs" / "export.md"
BLOCK = re.compile(r"^<!-- runnable: ([\w-]+) -->\n```python\n(.*?)^```$", re.M | re.S)


def test_the_pages_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnx")
    monkeypatch.chdir(tmp_path)
    np.save("images.npy", QUERIES)
    np.save("captions.npy", CANDIDATES)
    ALL["center-queries"].save("closer.safetensors")
    features = write_encoder(tmp_path / "image.onnx")
    left: dict[str, Any] = {}
    blocks = BLOCK.findall(PAGE.read_text(encoding="utf-8"))
    assert [name for name, _ in blocks] == ["json", "inner-product", "cosine", "onnx"]
    for name, code in blocks:
        exec(compile(code, f"docs/export.md: {name}", "exec"), left)
    found = answers(ALL["center-queries"], QUERIES, CANDIDATES)
    np.testing.assert_array_equal(left["by_product"], found)
    np.testing.assert_array_equal(left["by_cosine"], found)
    close_to(
        ran(tmp_path / "image-closed.onnx", FEATURES)["rows"],
        left["wide"].apply(FEATURES @ features, "query"),
    )
