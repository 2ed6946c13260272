"""The demo on a part of the emoji world: its quiz, its trials and its pictures."""

import base64
import io
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("onnxruntime")
Image = pytest.importorskip("PIL.Image")

from isthmus.encoders.emoji_world import EmojiWorld, load_world  # noqa: E402
from isthmus.workflows.demo import flips, inputs, rows, story  # noqa: E402
from isthmus.workflows.demo.quiz import OPTIONS, emoji_quiz  # noqa: E402

SIZE = 150


class SmallWorld(EmojiWorld):
    """Every twelfth emoji, so that all categories are there."""

    def pictures(self, drawing):
        return load_world().pictures(drawing)[::12][:SIZE]


def small_world():
    whole = load_world()
    kept = range(0, len(whole), 12)[:SIZE]
    part = replace(
        whole,
        hexcodes=tuple(whole.hexcodes[i] for i in kept),
        names=tuple(whole.names[i] for i in kept),
        tags=tuple(whole.tags[i] for i in kept),
        category_of=whole.category_of[list(kept)],
        train=whole.train[list(kept)],
    )
    return SmallWorld(**{f: getattr(part, f) for f in part.__dataclass_fields__})


@pytest.fixture(scope="module")
def embedded():
    monkey = pytest.MonkeyPatch()
    monkey.setattr(rows, "load_world", small_world)
    try:
        return rows.embed_world("emoji", lambda what, done, of: None)
    finally:
        monkey.undo()


def test_quiz_has_its_own_name_once_among_names_of_the_same_category():
    world = load_world()
    lists, right = emoji_quiz(world, seed=3)
    assert lists.shape == (len(world), OPTIONS)
    assert right.task == "multiple-choice"
    np.testing.assert_array_equal(right.pairs[:, 0], right.pairs[:, 1])
    assert (world.category_of[lists] == world.category_of[:, None]).all()
    own = lists == np.arange(len(world))[:, None]
    assert (own.sum(axis=1) == 1).all()
    places = own.argmax(axis=1)
    assert (np.bincount(places, minlength=OPTIONS) > len(world) / OPTIONS * 0.8).all()
    again, _ = emoji_quiz(world, seed=3)
    np.testing.assert_array_equal(lists, again)


def test_rows_are_unit_and_of_the_pictures(embedded):
    assert embedded.unseen.shape == embedded.names.shape == (SIZE, embedded.encoder.dim)
    for side in (embedded.unseen, embedded.seen, embedded.names):
        np.testing.assert_allclose(np.linalg.norm(side, axis=1), 1, atol=1e-12)
    direct = embedded.encoder.encode_images(load_world().pictures("twitter")[::12][:3])
    direct = direct / np.linalg.norm(direct, axis=1, keepdims=True)
    np.testing.assert_allclose(embedded.unseen[:3], direct, atol=1e-5)


def test_every_trial_meets_every_closer_and_controls_hold(embedded):
    steps = []
    found = inputs.measure_trials(embedded, seed=0, progress=lambda *step: steps.append(step))
    assert steps[-1][1] == steps[-1][2] == len(found)
    tasks = {"find the picture", "name the picture", "which category", "quiz"}
    assert {t["task"] for t in found} == tasks
    for trial in found:
        by_closer = {(r["closer"], r["score"], r["bias"]): r for r in trial["rows"]}
        plain = by_closer["none", "cosine", "clean"]["consistency"]
        closed = by_closer["center-queries", "dot", "clean"]
        assert closed["clean_agreement"] == 1.0
        if trial["side"] == "queries":  # the control: no exact closing changes anything
            assert closed["consistency"] == plain
        else:  # a bias computed again is plain search
            assert by_closer["center-queries", "dot", "again"]["consistency"] == plain
        shares = trial["diagnosis"]
        assert shares["in_span"] + shares["off_span"] == pytest.approx(1) or not shares["energy"]


def test_flip_pictures_are_the_answers(embedded):
    galleries = flips.flip_gallery(embedded, seed=0)
    assert [g["family"] for g in galleries] == ["uniform-quantisation", "gaussian"]
    for gallery in galleries:
        assert gallery["flip_reference"] == "own"
        fewer = gallery["flips_before"] - gallery["flips_after"]
        assert fewer == gallery["saved"] - gallery["lost"]
        for item in gallery["shown"]:
            assert item["clean"] == item["closed"]
            assert item["clean"]["name"] == item["query"]
            assert item["flipped"]["name"] != item["query"]
            data = item["flipped"]["picture"].removeprefix("data:image/png;base64,")
            with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
                place = embedded.world.names.index(item["flipped"]["name"])
                np.testing.assert_array_equal(
                    np.asarray(picture.convert("RGB")), np.asarray(embedded.pictures[place])
                )


@pytest.mark.slow
def test_story_adds_its_chapter_to_the_report(monkeypatch, tmp_path, embedded):
    monkeypatch.setattr(story, "embed_world", lambda encoder, progress: embedded)
    monkeypatch.setattr(story, "measure_trials", lambda rows, seed, progress: [])
    made = story.run_demo()
    result, chapter = made.audit, made.audit.report["demo"]
    assert chapter["emoji"] == SIZE
    assert set(chapter) == {"encoder", "drawing", "emoji", "figures", "inputs", "flips"}
    assert result.report["inputs"]["a"]["name"] == "pictures"
    assert set(result.closers) == {"a_to_b", "b_to_a"}
    story.save_rows(tmp_path, made.rows)
    for name, rows_ in (("names", embedded.names), ("pictures", embedded.unseen)):
        np.testing.assert_allclose(np.load(tmp_path / f"{name}.npy"), rows_, atol=1e-6)
