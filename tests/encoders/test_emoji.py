"""The emoji world and its models: what ships, what was measured, and that both still hold."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from isthmus.encoders import emoji as emoji_module
from isthmus.encoders import load_encoder
from isthmus.encoders.emoji import EmojiEncoder, shipped_models, stored_figures
from isthmus.encoders.emoji_pixels import pixels
from isthmus.encoders.emoji_text import TABLE, fnv1a, tokenize
from isthmus.encoders.emoji_world import DATA, caption, is_held_out, load_world
from refusals import refused

MODELS = ("contrastive", "sigmoid", "gap")
HELD_OUT = ["1F600", "1F606", "1F602", "1F970", "1F60D"]  # the first five, for ever
TOLERANCE = 1.1e-3  # three digits; one near-tie in 1,906 may fall either way on another CPU
TIE = 1e-6


@cache
def rows(model: str, side: str) -> np.ndarray:
    """Unit rows of one model: 'google', 'twitter', 'names', 'tagged' or 'categories'."""
    encoder, world = EmojiEncoder(model), load_world()
    texts = {
        "names": world.texts,
        "tagged": world.texts_with_tags,
        "categories": world.category_texts,
    }
    if side in texts:
        found = encoder.encode_texts(texts[side]())
    else:
        found = encoder.encode_images(world.pictures(side))
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def recall(scores: np.ndarray, truth: np.ndarray, k: int) -> float:
    """The share of queries with fewer than k other columns that reach their truth's score.

    Some flags are the same drawing twice: a tie within rounding counts against the model.
    """
    own = scores[np.arange(len(truth)), truth]
    return float((np.count_nonzero(scores > own[:, None] - TIE, axis=1) <= k).mean())


def test_shipped_files_are_small() -> None:
    size = {p.name: p.stat().st_size for p in DATA.iterdir() if p.is_file()}
    assert {f"{m}-{side}.onnx" for m in MODELS for side in ("image", "text")} <= set(size)
    assert sum(n for name, n in size.items() if name.endswith(".onnx")) <= 8_000_000
    assert 500_000 < size["google.webp"] <= 3_000_000
    assert 500_000 < size["twitter.webp"] <= 3_000_000
    assert size["names.json.gz"] <= 1_000_000


def test_world_is_joined_row_by_row() -> None:
    world = load_world()
    n = len(world)
    assert n > 1850
    assert len(set(world.hexcodes)) == len(set(world.names)) == n
    assert world.category_of.shape == world.train.shape == (n,)
    assert len(world.categories) == 9
    assert set(world.category_of.tolist()) == set(range(9))
    assert len(world.languages) == 28
    assert all(len(world.names_in(code)) == n for code in world.languages)
    at = world.hexcodes.index("1F436")
    assert world.names[at] == "dog face"
    assert world.categories[world.category_of[at]] == "animals & nature"
    assert "pet" in world.tags[at]
    assert "chien" in world.names_in("fr")[at]
    assert world.texts()[at] == "dog face"
    assert world.texts_with_tags()[at].startswith("dog face: ")
    assert not any("skin tone" in name for name in world.names)


def test_held_out_is_a_fixed_hash_of_the_hexcode() -> None:
    world = load_world()
    assert [not is_held_out(h) for h in world.hexcodes] == world.train.tolist()
    assert np.count_nonzero(~world.train) == 278
    assert [h for h in world.hexcodes if is_held_out(h)][:5] == HELD_OUT


def test_the_two_drawings_are_different_pictures_of_the_same_things() -> None:
    world = load_world()
    google, twitter = (world.pictures(d) for d in ("google", "twitter"))
    assert len(google) == len(twitter) == len(world)
    assert {p.mode for p in google + twitter} == {"RGB"}
    assert {p.size for p in google + twitter} == {(64, 64)}
    a, b = (pixels(p).astype(np.float32).reshape(len(p), -1) for p in (google, twitter))
    apart = np.abs(a - b).mean(axis=1)
    assert (apart > 2).mean() > 0.99
    assert np.abs(a[:, :1] - 255).max() < 16  # corners are white paper
    # yet picture i of one is nearer to picture i of the other than to a random one
    other = np.abs(a - b[np.random.default_rng(0).permutation(len(b))]).mean(axis=1)
    assert (apart < other).mean() > 0.8


def test_pixels_pad_to_a_square_and_scale() -> None:
    from PIL import Image

    wide = Image.new("RGB", (80, 40), (0, 0, 0))
    out = pixels([wide, Image.new("RGB", (7, 7), (10, 20, 30))])
    assert out.shape == (2, 3, 32, 32)
    assert out.dtype == np.uint8
    assert (out[0, :, :7] == 255).all()
    assert (out[0, :, 12:20] == 0).all()
    assert [int(c) for c in out[1, :, 5, 5]] == [10, 20, 30]


def test_tokenizer_is_stable() -> None:
    assert fnv1a(b"") == 0x811C9DC5
    assert fnv1a(b"a") == 0xE40C292C
    assert fnv1a(b"foobar") == 0xBF9CF968
    code = (
        "from isthmus.encoders.emoji_text import tokenize;"
        "print(tokenize(['dog face', 'Œ 7']).tolist())"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(DATA.parents[2])},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert seen == {f"{tokenize(['dog face', 'Œ 7']).tolist()}\n"}
    assert tokenize(["Dog  FACE!"]).tolist() == tokenize(["dog face"]).tolist()
    assert tokenize(["dog"]).tolist() != tokenize(["god"]).tolist()
    ids = tokenize(["dog face", "", "x" * 4000])
    assert ids.dtype == np.int64
    assert ids.min() >= 0
    assert ids.max() < TABLE
    assert (ids[1] == 0).all()
    assert tokenize([]).shape == (0, 1)
    # the word and its three trigrams: <do dog og>
    grams = ["<dog>", "<do", "dog", "og>"]
    assert tokenize(["dog"])[0].tolist() == [1 + fnv1a(g.encode()) % (TABLE - 1) for g in grams]


@pytest.mark.parametrize("model", MODELS)
def test_batch_size_does_not_change_rows(model: str) -> None:
    encoder, world = EmojiEncoder(model), load_world()
    pictures = world.pictures("twitter")[:300:5]
    texts = [*world.texts_with_tags()[:300:5], "", "🦊", "a"]
    for encode, items in ((encoder.encode_images, pictures), (encoder.encode_texts, texts)):
        whole = encode(items, batch_size=len(items))
        for size in (1, 7):
            np.testing.assert_allclose(encode(items, batch_size=size), whole, rtol=0, atol=1e-5)
        assert whole.shape == (len(items), encoder.dim)
        assert whole.dtype == np.float32
        assert np.ptp(np.linalg.norm(whole, axis=1)) > 1e-3  # not normalised, as documented


def test_threads_do_not_change_a_bit() -> None:
    encoder, pictures = EmojiEncoder(), load_world().pictures("google")[:200]
    found = {}
    for threads in (1, 2, 4):
        encoder.threads = threads
        found[threads] = encoder.encode_images(pictures, batch_size=16)
    np.testing.assert_array_equal(found[2], found[1])
    np.testing.assert_array_equal(found[4], found[1])
    direct = emoji_module._session(f"{encoder.model}-image.onnx")  # as many threads as it likes
    np.testing.assert_allclose(
        direct.run(None, {"pixels": pixels(pictures)})[0], found[1], rtol=0, atol=1e-5
    )


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_stored_figures_are_measured_again(model: str) -> None:
    world, stored = load_world(), stored_figures(model)
    everyone = np.arange(len(world))
    splits = {"all": everyone, "train": everyone[world.train], "held_out": everyone[~world.train]}
    names, tagged = rows(model, "names"), rows(model, "tagged")
    for drawing in ("google", "twitter"):
        images = rows(model, drawing)
        to_names, to_tagged = images @ names.T, images @ tagged.T
        for split, index in splits.items():
            for k in (1, 5):
                again = {
                    "image_to_text": recall(to_names[index], index, k),
                    "text_to_image": recall(to_names.T[index], index, k),
                    "image_to_tagged_text": recall(to_tagged[index], index, k),
                }
                for way, value in again.items():
                    kept = stored[f"{drawing}_{split}"][way][f"r{k}"]
                    assert kept == pytest.approx(value, abs=TOLERANCE), (drawing, split, way, k)
        hit = (images @ rows(model, "categories").T).argmax(1) == world.category_of
        zero_shot = stored[f"{drawing}_zero_shot"]
        assert zero_shot["all"] == pytest.approx(hit.mean(), abs=TOLERANCE)
        assert zero_shot["held_out"] == pytest.approx(hit[~world.train].mean(), abs=TOLERANCE)
        gap = np.linalg.norm(images.mean(0) - names.mean(0))
        assert stored[f"{drawing}_gap"] == pytest.approx(gap, abs=TOLERANCE)


def test_targets_on_unseen_drawings() -> None:
    """R@1 and R@5 of the Twitter drawings of all emoji among all names, image to text."""
    index = np.arange(len(load_world()))
    for model in ("contrastive", "gap"):
        scores = rows(model, "twitter") @ rows(model, "names").T
        assert recall(scores, index, 1) >= 0.20, model
        assert recall(scores, index, 5) >= 0.38, model
    # the labels matter: against a shuffled truth the same rows are at chance
    wrong = np.random.default_rng(0).permutation(index)
    assert recall(scores, wrong, 5) < 0.02


def test_the_default_keeps_a_clip_like_gap_and_the_contrastive_does_not() -> None:
    gap = {
        m: float(np.linalg.norm(rows(m, "twitter").mean(0) - rows(m, "names").mean(0)))
        for m in MODELS
    }
    assert shipped_models()[0] == "gap"
    assert gap["gap"] >= 0.6
    assert gap["contrastive"] < gap["gap"]


def test_names_of_models() -> None:
    default, same = load_encoder("emoji"), load_encoder("emoji:gap")
    assert isinstance(default, EmojiEncoder)
    assert (default.name, same.name) == ("emoji", "emoji:gap")
    text = ["a cat with a hat"]
    np.testing.assert_array_equal(default.encode_texts(text), same.encode_texts(text))
    sigmoid = load_encoder("emoji:sigmoid")
    assert sigmoid.bias is not None
    assert sigmoid.bias < 0
    assert default.bias is None
    assert default.logit_scale is not None
    assert 1 < default.logit_scale <= 100.001
    with refused("unknown-model", "gap, contrastive, sigmoid"):
        load_encoder("emoji:clip")
    with refused("no-such-device", "on 'cpu' only"):
        EmojiEncoder(device="cuda")
    with refused("no-such-device", "on 'cpu' only"):
        load_encoder("emoji", device="cuda")
    with refused("unknown-drawing", "google, twitter"):
        load_world().pictures("apple")
    with refused("unknown-language", "unknown language 'xx'"):
        load_world().names_in("xx")


@pytest.mark.parametrize("library", ["onnxruntime", "PIL.Image"])
def test_a_missing_library_is_named(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, world = EmojiEncoder(), load_world()
    from isthmus.encoders import emoji_world

    emoji_world._sheet.cache_clear()
    monkeypatch.setitem(sys.modules, library, None)
    package = "pillow" if library == "PIL.Image" else library
    with refused("missing-extra", f"'{package}'", "isthmus[demo]"):
        EmojiEncoder() if library == "onnxruntime" else world.pictures("google")
    assert encoder.encode_texts(["dog"]).shape == (1, 128)


def test_import_loads_nothing_heavy() -> None:
    code = (
        "import sys, isthmus.encoders.emoji, isthmus.encoders.emoji_world;"
        "print([m for m in ('onnxruntime', 'PIL', 'torch', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_captions() -> None:
    assert caption("dog", ("pet", "paw")) == "dog: pet, paw"
    assert caption("dog", ()) == "dog"


def test_curves_are_kept_for_every_shipped_model() -> None:
    curves = Path(__file__).resolve().parents[2] / "training" / "curves"
    for model in MODELS:
        record = json.loads((curves / f"{model}.json").read_text(encoding="utf-8"))
        points = record["curve"]
        assert points[0]["epoch"] == 0
        assert points[-1]["epoch"] == (record.get("stopped_after") or record["recipe"]["epochs"])
        # int8 weights move the figures of the float model by little
        stored = stored_figures(model)
        assert points[-1]["gap"] == pytest.approx(stored["google_gap"], abs=0.02)
        kept = stored["twitter_all"]["image_to_text"]["r1"]
        assert points[-1]["r1_twitter"] == pytest.approx(kept, abs=0.02)
    assert emoji_module.__doc__ is not None
