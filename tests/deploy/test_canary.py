"""The canary: planted faults are named, and the same model run again is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from commands import refused_in_one_sentence, run
from isthmus.deploy.canary import Canary, check_canary, make_canary
from isthmus.encoders import Encoder, load_encoder
from isthmus.encoders.emoji_text import tokenize
from refusals import refused


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    """64 rows of unequal norms in two clouds, as a model gives them."""
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(64, 96)) + 2 * rng.normal(size=96)
    return (rows * rng.lognormal(0, 0.1, (64, 1))).astype(np.float32)


def turned(rows: np.ndarray, size: float, seed: int = 1) -> np.ndarray:
    """Rows moved by noise of ``size`` times their norm."""
    noise = np.random.default_rng(seed).normal(size=rows.shape)
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    return rows + size * np.linalg.norm(rows, axis=1, keepdims=True) * noise


FAULTS = {
    "not-finite": lambda v: np.where(np.arange(64)[:, None] == 5, np.inf, v),
    "zero": lambda v: np.where(np.arange(64)[:, None] == 7, 0.0, v),
    "order": lambda v: np.roll(v, 1, axis=0),
    "norms": lambda v: 1.5 * v,
    "shift": lambda v: v + 0.05 * np.linalg.norm(v, axis=1).mean() * np.eye(96)[3],
    "changed": lambda v: turned(v, 0.02),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults_are_named(vectors: np.ndarray, fault: str) -> None:
    canary = make_canary(vectors, again=[turned(vectors, 1e-6)])
    found = check_canary(canary, FAULTS[fault](vectors.astype(np.float64)))
    assert (found.kind, found.passed) == (fault, False)
    if fault in ("not-finite", "zero"):
        assert found.worst_inputs == (str({"not-finite": 5, "zero": 7}[fault]),)


@pytest.mark.parametrize("size", [0.0, 1e-6, 5e-6])
def test_the_same_model_again_passes(vectors: np.ndarray, size: float) -> None:
    canary = make_canary(vectors, again=[turned(vectors, 2e-6)])
    found = check_canary(canary, turned(vectors, size, seed=9))
    assert (found.kind, found.passed, found.flips) == ("same", True, 0)


def test_float16_is_rounding_and_can_be_refused(vectors: np.ndarray) -> None:
    canary = make_canary(vectors)
    half = vectors.astype(np.float16)
    assert check_canary(canary, half).kind == "rounding"
    assert check_canary(canary, half).passed
    assert not check_canary(canary, half, rounding=0.0).passed


def test_distances_are_those_of_unit_rows(vectors: np.ndarray) -> None:
    new = turned(vectors, 0.01)
    unit = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in (vectors.astype(float), new)]
    moved = np.linalg.norm(unit[1] - unit[0], axis=1)
    found = check_canary(make_canary(vectors, ids=[f"in-{i}" for i in range(64)]), new)
    assert found.worst == pytest.approx(moved.max(), rel=1e-6)
    assert found.middle == pytest.approx(np.median(moved), rel=1e-6)
    assert found.worst_inputs[0] == f"in-{moved.argmax()}"


def test_a_digest_that_differs_is_named(vectors: np.ndarray) -> None:
    canary = make_canary(vectors, digests={"model": "aa", "preprocessing": "bb"})
    found = check_canary(canary, vectors, digests={"model": "aa", "preprocessing": "cc"})
    assert found.changed_digests == ("preprocessing",)


def test_saved_and_loaded(vectors: np.ndarray, tmp_path: Path) -> None:
    canary = make_canary(vectors, ids=[f"π {i}" for i in range(64)], digests={"model": "aa"})
    canary.save(tmp_path / "canary.safetensors")
    again = Canary.load(tmp_path / "canary.safetensors")
    np.testing.assert_array_equal(again.vectors, canary.vectors)
    assert (again.ids, again.jitter, again.digests) == (canary.ids, 0.0, {"model": "aa"})
    assert check_canary(tmp_path / "canary.safetensors", vectors).passed


def test_refusals(vectors: np.ndarray) -> None:
    with refused("canary-shape", "(3, 96)"):
        make_canary(vectors[:3])
    with refused("canary-values"):
        make_canary(np.where(np.arange(64)[:, None] == 1, np.nan, vectors))
    with refused("canary-names", "2 names for 64"):
        make_canary(vectors, ids=["a", "b"])
    with refused("canary-names", "63 of them"):
        make_canary(vectors, ids=["a", "a", *map(str, range(62))])
    with refused("other-shape", "63 rows"):
        check_canary(make_canary(vectors), vectors[1:])
    with refused("other-shape", "(64, 95)"):
        check_canary(make_canary(vectors), vectors[:, 1:])
    with refused("unknown-encoder", "emoji"):
        make_canary("nothing", texts=["a"])
    with refused("images-or-texts"):
        make_canary("emoji")


def test_twins_and_a_collapse_are_no_other_order(vectors: np.ndarray) -> None:
    twins = np.repeat(vectors[:16], 4, axis=0)
    found = check_canary(make_canary(twins), turned(twins, 1e-3))
    assert (found.kind, found.displaced) == ("rounding", 0)
    one = turned(np.repeat(vectors[:1], 64, axis=0), 0.3)
    assert check_canary(make_canary(vectors), one).kind == "changed"


def test_rows_of_a_file_are_a_few_and_found_again(
    vectors: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    many = np.vstack([vectors, vectors[::-1] + 1])
    np.save("many.npy", many)
    Path("names.txt").write_text("\n".join(f"row {i}" for i in range(128)))
    canary = make_canary("many.npy", ids="names.txt", again=["many.npy"], max_inputs=10)
    places = np.linspace(0, 127, 10).round().astype(int)
    assert canary.ids == tuple(f"row {i}" for i in places)
    np.testing.assert_array_equal(canary.vectors, many[places])
    for rows in ("many.npy", many, many[places]):
        assert check_canary(canary, rows).kind == "same"
    assert not check_canary(canary, np.roll(many, 1, axis=0)).passed


TEXTS = ["red heart", "a very long line of words about a train in the snow", "pig", "sun", "ship"]


class Faulty(Encoder):
    """The built-in model with one fault."""

    def __init__(self, fault: str = "") -> None:
        self.inner, self.fault = load_encoder("emoji"), fault
        self.name, self.dim = "faulty", self.inner.dim

    def files(self) -> list[Path]:
        return self.inner.files()

    def _prepare_image(self, picture: Any) -> Any:
        if self.fault == "resize":
            picture = picture.resize((20, 20), 0).resize(picture.size)
        if self.fault == "channels":
            picture = _swapped(picture)
        return self.inner._prepare_image(picture)

    def _embed_images(self, batch: list[Any]) -> np.ndarray:
        return self._spoilt(self.inner._embed_images(batch))

    def _embed_texts(self, batch: list[str]) -> np.ndarray:
        if self.fault != "padding":
            return self._spoilt(self.inner._embed_texts(batch))
        grams = tokenize(batch)  # the padding is taken for a word
        return self.inner._text.run(None, {"grams": np.where(grams == 0, 17, grams)})[0]

    def _spoilt(self, rows: np.ndarray) -> np.ndarray:
        if self.fault == "overflow":
            with np.errstate(over="ignore"):
                return (rows * np.float32(3e4)).astype(np.float16).astype(np.float32)
        if self.fault == "shift":
            return rows + 0.05 * np.linalg.norm(rows[0]) * np.eye(self.dim)[3].astype("f4")
        return rows


def _swapped(picture: Any) -> Any:
    from PIL import Image

    return Image.merge("RGB", picture.convert("RGB").split()[::-1])


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 24 emoji as files."""
    pytest.importorskip("onnxruntime")
    from isthmus.encoders.emoji_world import load_world

    folder = tmp_path_factory.mktemp("pictures")
    for i, picture in enumerate(load_world().pictures("twitter")[:240:10]):
        picture.save(folder / f"{i}.png")
    return folder


@pytest.mark.parametrize(
    ("side", "fault", "kind"),
    [
        ("images", "", "same"),
        ("images", "resize", "changed"),
        ("images", "channels", "changed"),
        ("images", "overflow", "not-finite"),
        ("images", "shift", "shift"),
        ("texts", "", "same"),
        ("texts", "padding", "changed"),
        ("texts", "overflow", "not-finite"),
        ("texts", "shift", "shift"),
    ],
)
def test_planted_faults_of_a_real_model(side: str, fault: str, kind: str, pictures: Path) -> None:
    given = {"images": pictures} if side == "images" else {"texts": TEXTS}
    canary = make_canary(Faulty(), **given)
    assert canary.kind == side
    found = check_canary(canary, Faulty(fault), **given, batch_size=3)
    assert (found.kind, found.passed) == (kind, kind == "same")
    assert found.changed_digests == ()


def test_a_model_that_depends_on_the_batch_makes_no_canary(pictures: Path) -> None:
    with refused("batch-changes-rows", "padding"):
        make_canary(Faulty("padding"), texts=TEXTS)


def test_inputs_are_found_by_name_and_digests_tell(pictures: Path, tmp_path: Path) -> None:
    canary = make_canary("emoji", images=pictures, max_inputs=8)
    assert set(canary.digests) >= {"encoder", "inputs", "library onnxruntime"}
    assert sum(name.startswith("model ") for name in canary.digests) == 2
    few = tmp_path / "few"
    few.mkdir()
    for name in canary.ids:
        (few / name).write_bytes((pictures / name).read_bytes())
    assert check_canary(canary, "emoji", images=few).kind == "same"
    rows = load_encoder("emoji").encode_images(sorted(pictures.iterdir(), key=_number))
    assert check_canary(canary, rows).kind == "same"
    _swapped(image_of(few / canary.ids[1])).save(few / canary.ids[1])
    found = check_canary(canary, "emoji", images=few)
    assert (found.kind, found.changed_digests) == ("changed", ("inputs",))
    assert found.worst_inputs[0] == canary.ids[1]
    (few / canary.ids[0]).unlink()
    with refused("missing-inputs", "'0.png'"):
        check_canary(canary, "emoji", images=few)


def _number(path: Path) -> int:
    return int(path.stem)


def image_of(path: Path) -> Any:
    from PIL import Image

    return Image.open(path)


def test_a_canary_of_texts_knows_them(pictures: Path) -> None:
    canary = make_canary("emoji", texts=TEXTS)
    found = check_canary(canary, "emoji")
    assert found.kind == "same"
    assert canary.jitter < 1e-5
    assert check_canary(canary, load_encoder("emoji").encode_texts(TEXTS[::-1])).kind == "order"


def test_the_commands(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("t.txt").write_text("\n".join(TEXTS))
    code, out, _ = run(capsys, "canary", "make", "emoji", "--texts", "t.txt", "--out", "c.json")
    assert code == 0
    assert out.startswith("5 of 5 texts, vectors of 128 dimensions; from run to run")
    code, out, _ = run(capsys, "canary", "check", "c.json", "emoji")
    assert code == 0
    assert out.startswith("PASSED (same): ")
    rows = load_encoder("emoji").encode_texts(TEXTS)
    np.save("r.npy", rows[[1, 0, 2, 4, 3]])
    code, out, err = run(capsys, "canary", "check", "c.json", "r.npy", "--json")
    assert code == 3
    assert err.startswith("FAILED (order): ")
    assert json.loads(out)["passed"] is False
    np.save("r.npy", rows.astype(np.float16))
    assert run(capsys, "canary", "check", "c.json", "r.npy")[0] == 0
    assert run(capsys, "canary", "check", "c.json", "r.npy", "--rounding", "0")[0] == 3
    refused_in_one_sentence(capsys, "canary make r.npy --out c.txt", ".safetensors")
    refused_in_one_sentence(capsys, "canary check nothing.json r.npy", "nothing.json")


@pytest.mark.real_data
def test_kinds_on_real_rows(real_data: Path) -> None:
    """No false alarm by float16 or bfloat16, and every planted kind named, on every set."""
    from isthmus.perturb.codecs import fit_codec

    seen = 0
    for file in sorted(real_data.rglob("*.npy")):
        rows = np.load(file, allow_pickle=False)
        if rows.dtype.kind != "f" or rows.ndim < 2:
            continue
        canary = make_canary(rows.reshape(-1, rows.shape[-1]).astype(np.float32))
        kept = canary.vectors
        length = np.linalg.norm(kept, axis=1, keepdims=True)
        common = np.eye(kept.shape[1])[3] * 0.01 * length.mean()
        for new, kinds in (
            (turned(kept, 1e-6), {"same"}),
            (kept.astype(np.float16), {"same", "rounding"}),
            (fit_codec("bf16", kept).through(kept), {"rounding"}),
            (kept + common, {"shift"}),
            (turned(kept, 0.02), {"changed"}),
            (np.roll(kept, 1, axis=0), {"order"}),
            (kept / length * 2 * length.mean(), {"norms"}),
        ):
            assert check_canary(canary, new).kind in kinds, file
        seen += 1
    assert seen >= 10
