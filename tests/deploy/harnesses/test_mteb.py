"""mteb's own task on the emoji world, before and after closing, against our search."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import isthmus as im
from isthmus.encoders.emoji_world import is_held_out, load_world
from refusals import refused

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]
pytest.importorskip("torch")

import torchvision_shim  # noqa: E402

torchvision_shim.install()
mteb = pytest.importorskip("mteb")

from datasets import Dataset  # noqa: E402
from mteb.abstasks import AbsTaskRetrieval  # noqa: E402
from mteb.abstasks.retrieval_dataset_loaders import RetrievalSplitData  # noqa: E402
from mteb.abstasks.task_metadata import TaskMetadata  # noqa: E402
from mteb.mocks.mock_tasks import MockZeroShotClassificationTask  # noqa: E402
from mteb.models import CompressionWrapper  # noqa: E402
from mteb.types import OutputDType  # noqa: E402
from torch.utils.data import DataLoader  # noqa: E402

from isthmus.deploy.harnesses.mteb import ClosedModel, ClosedSearch, EncoderModel  # noqa: E402


def splits() -> tuple[np.ndarray, np.ndarray]:
    """Rows of emoji that closers are fitted on, and of the 278 that are asked for."""
    held = np.array([is_held_out(code) for code in load_world().hexcodes])
    return np.flatnonzero(~held), np.flatnonzero(held)


class Emoji(AbsTaskRetrieval):
    """Find an emoji's name by its picture."""

    metadata = TaskMetadata(
        type="Any2AnyRetrieval",
        name="IsthmusEmoji",
        description="Find an emoji's name by its picture.",
        reference=None,
        dataset={"path": "isthmus/emoji", "revision": "1"},
        category="i2t",
        modalities=["image", "text"],
        eval_splits=["test"],
        eval_langs=["eng-Latn"],
        main_score="ndcg_at_10",
        date=("2026-01-01", "2026-01-02"),
        domains=["Web"],
        task_subtypes=["Image Text Retrieval"],
        license="cc-by-4.0",
        annotations_creators="derived",
        dialect=[],
        sample_creation="found",
        bibtex_citation="",
    )

    def load_data(self, num_proc: int | None = None, **_: Any) -> None:
        world, (_, held) = load_world(), splits()
        pictures, texts = world.pictures("twitter"), world.texts()
        queries = {"id": [f"q{i}" for i in held], "image": [pictures[i] for i in held]}
        corpus = {"id": [f"d{i}" for i in held], "text": [texts[i] for i in held]}
        self.dataset = {
            "default": {
                "test": RetrievalSplitData(
                    queries=Dataset.from_dict(queries),
                    corpus=Dataset.from_dict(corpus),
                    relevant_docs={f"q{i}": {f"d{i}": 1} for i in held},
                    top_ranked=None,
                )
            }
        }
        self.data_loaded = True


@pytest.fixture(scope="module")
def rows() -> tuple[np.ndarray, np.ndarray]:
    """Pictures and texts of all emoji, (n, d)."""
    world, encoder = load_world(), im.load_encoder("emoji")
    return encoder.encode_images(world.pictures("twitter")), encoder.encode_texts(world.texts())


@pytest.fixture(scope="module")
def model() -> EncoderModel:
    return EncoderModel(im.load_encoder("emoji"))


def figures(model: Any) -> tuple[float, float]:
    """Recall at 1 and nDCG at 10, as mteb counts them."""
    found = mteb.evaluate(model, Emoji(), cache=None, encode_kwargs={"batch_size": 64})
    scores = found.task_results[0].scores["test"][0]
    return scores["recall_at_1"], scores["ndcg_at_10"]


def ours(ranking: im.Ranking) -> tuple[float, float]:
    """The same of pairs, from places in our search."""
    best = im.top_k(ranking, 10).rows
    place = np.argmax(best == np.arange(len(best))[:, None], axis=1)
    found = (best == np.arange(len(best))[:, None]).any(axis=1)
    gain = np.where(found, 1 / np.log2(place + 2), 0)
    return float((found & (place == 0)).mean()), float(gain.mean())


@pytest.mark.parametrize("method", ["center-queries", "mean-shift", "biased-shift", "ridge-shift"])
def test_any_model_is_evaluated_before_and_after_closing(
    method: str, rows: Any, model: EncoderModel
) -> None:
    (fitted, held), (images, texts) = splits(), rows
    closer = im.fit(method, images[fitted], texts[fitted])
    plain = im.Ranking.of(images[held], texts[held], "cosine")
    assert figures(model) == pytest.approx(ours(plain), abs=1e-5)
    moved = closer.candidates(texts[held])
    ranking = im.Ranking.of(closer.queries(images[held]), moved.rows, closer.score, moved.bias)
    search = ClosedSearch(model, closer, corpus_chunk_size=100)
    assert figures(search) == pytest.approx(ours(ranking), abs=1e-5)
    assert search.mteb_model_meta.name == f"isthmus/emoji-{method}"
    if closer.bias_weights is None:
        assert figures(ClosedModel(model, closer)) == pytest.approx(ours(ranking), abs=1e-5)
    else:
        with refused("bias-apart", method):
            ClosedModel(model, closer)


def test_a_role_that_the_task_does_not_say_is_said_by_modality(
    rows: Any, model: EncoderModel
) -> None:
    images, texts = rows
    closer = im.fit("mean-shift", images, texts)
    inputs = DataLoader(Dataset.from_dict({"text": ["a cat", "a dog"]}), batch_size=2)
    found = ClosedModel(model, closer, roles={"text": "candidate", "image": "query"}).encode(inputs)
    expected = closer.candidate(model.encoder.encode_texts(["a cat", "a dog"]))
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    with refused("unknown-role", "roles="):
        ClosedModel(model, closer).encode(inputs)
    roles = {"image": "query", "text": "candidate"}
    closed = ClosedModel(model, closer, roles=roles)  # type: ignore[arg-type]
    done = mteb.evaluate(closed, MockZeroShotClassificationTask(), cache=None)
    assert 0 <= done.task_results[0].scores["test"][0]["accuracy"] <= 1


def test_mtebs_compression_is_no_measurement_of_a_code() -> None:
    """Each call takes its own least and greatest value of a dimension, so a row's code depends on
    the rows that it comes with, and the two sides get codes of two kinds."""
    model = EncoderModel(im.load_encoder("emoji"))
    texts = [f"a thing of kind {i}" for i in range(40)]

    def coded(some: list[str]) -> np.ndarray:
        inputs = DataLoader(Dataset.from_dict({"text": some}), batch_size=64)
        about = {"task_metadata": Emoji.metadata, "hf_split": "test", "hf_subset": "default"}
        return np.asarray(CompressionWrapper(model, OutputDType.INT8).encode(inputs, **about))

    assert (coded(texts)[:20] != coded(texts[:20])).any()
