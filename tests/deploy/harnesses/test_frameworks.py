"""An encoder and a closer in each framework, against the encoder and the closer themselves."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import isthmus as im
from isthmus.deploy.export import as_cosine
from isthmus.deploy.harnesses.closed import ClosedEncoder
from isthmus.encoders.emoji_world import load_world
from refusals import refused

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]
TEXTS = ["a dog", "a red heart", "the flag of Chile"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closer that moves both sides, and three pictures."""
    place, world = tmp_path_factory.mktemp("closed"), load_world()
    encoder, pictures = im.load_encoder("emoji"), world.pictures("google")[:200]
    closer = im.fit(
        "mean-shift", encoder.encode_texts(world.texts()[:200]), encoder.encode_images(pictures)
    )
    closer.save(place / "closer.safetensors")
    for i, picture in enumerate(pictures[:3]):
        picture.save(place / f"{i}.png")
    return place


@pytest.fixture(scope="module")
def closer(folder: Path) -> str:
    return str(folder / "closer.safetensors")


@pytest.fixture(scope="module")
def expected(folder: Path, closer: str) -> dict[str, np.ndarray]:
    """Texts as questions and as what is stored, and pictures that are stored."""
    found, encoder = im.Closer.load(closer), im.load_encoder("emoji")
    texts = encoder.encode_texts(TEXTS)
    images = encoder.encode_images([folder / f"{i}.png" for i in range(3)])
    asked, stored = found.queries(texts), found.candidates(texts).rows
    assert np.abs(asked - stored).max() > 0.01  # the roles differ
    return {"queries": asked, "texts": stored, "images": found.candidates(images).rows}


def same(found: Any, rows: np.ndarray) -> None:
    np.testing.assert_allclose(np.asarray(found), rows, atol=1e-6)


def test_langchain(folder: Path, closer: str, expected: dict[str, np.ndarray]) -> None:
    pytest.importorskip("langchain_core")
    from langchain_core.vectorstores import InMemoryVectorStore

    from isthmus.deploy.harnesses.langchain import ClosedEmbeddings

    embeddings = ClosedEmbeddings("emoji", closer)
    same(embeddings.embed_documents(TEXTS), expected["texts"])
    same(embeddings.embed_query(TEXTS[1]), expected["queries"][1])
    same(asyncio.run(embeddings.aembed_query(TEXTS[1])), expected["queries"][1])
    uris = [(folder / f"{i}.png").as_uri() for i in range(3)]
    same(embeddings.embed_image(uris), expected["images"])
    store = InMemoryVectorStore(embeddings)
    store.add_texts(TEXTS)
    assert store.similarity_search("the flag of Chile", k=1)[0].page_content == TEXTS[2]


def test_llamaindex(folder: Path, closer: str, expected: dict[str, np.ndarray]) -> None:
    pytest.importorskip("llama_index.core")
    from isthmus.deploy.harnesses.llamaindex import ClosedEmbedding

    embedding = ClosedEmbedding("emoji", closer, embed_batch_size=2)
    same(embedding.get_text_embedding_batch(TEXTS), expected["texts"])
    same(embedding.get_query_embedding(TEXTS[1]), expected["queries"][1])
    same(asyncio.run(embedding.aget_query_embedding(TEXTS[1])), expected["queries"][1])
    paths = [str(folder / f"{i}.png") for i in range(3)]
    same(embedding.get_image_embedding_batch(paths), expected["images"])
    same(asyncio.run(embedding.aget_image_embedding(paths[0])), expected["images"][0])


def test_haystack(folder: Path, closer: str, expected: dict[str, np.ndarray]) -> None:
    haystack = pytest.importorskip("haystack")
    from haystack.components.retrievers.in_memory import InMemoryEmbeddingRetriever
    from haystack.document_stores.in_memory import InMemoryDocumentStore

    from isthmus.deploy.harnesses.haystack import ClosedDocumentEmbedder, ClosedTextEmbedder

    documents = [haystack.Document(content=text) for text in TEXTS]
    documents.insert(1, haystack.Document(meta={"file_path": str(folder / "0.png")}))
    embedded = ClosedDocumentEmbedder("emoji", closer).run(documents)["documents"]
    same([d.embedding for d in embedded if d.content], expected["texts"])
    same(embedded[1].embedding, expected["images"][0])
    assert documents[0].embedding is None
    store = InMemoryDocumentStore(embedding_similarity_function="cosine")
    store.write_documents(embedded)
    pipeline = haystack.Pipeline()
    pipeline.add_component("ask", ClosedTextEmbedder("emoji", closer))
    pipeline.add_component("find", InMemoryEmbeddingRetriever(store, top_k=1))
    pipeline.connect("ask.embedding", "find.query_embedding")
    ours = ["isthmus.deploy.harnesses.haystack"]
    again = haystack.Pipeline.loads(pipeline.dumps(), allowed_modules=ours)
    for each in (pipeline, again):
        asked = each.get_component("ask").run(TEXTS[2])["embedding"]
        same(asked, expected["queries"][2])
    found = pipeline.run({"ask": {"text": TEXTS[2]}})["find"]["documents"]
    assert found[0].content == TEXTS[2]


def test_lancedb(
    folder: Path, closer: str, expected: dict[str, np.ndarray], tmp_path: Path
) -> None:
    lancedb = pytest.importorskip("lancedb")
    from lancedb.embeddings import get_registry
    from lancedb.pydantic import LanceModel, Vector

    from isthmus.deploy.harnesses.lancedb import ClosedFunction

    assert get_registry().get("isthmus") is ClosedFunction
    function = ClosedFunction.create(encoder="emoji", closer=closer, images=True)

    class Item(LanceModel):
        uri: str = function.SourceField()
        vector: Vector(function.ndims()) = function.VectorField()  # type: ignore[valid-type]

    table = lancedb.connect(tmp_path).create_table("items", schema=Item)
    table.add([{"uri": str(folder / f"{i}.png")} for i in range(3)])
    same([row["vector"] for row in table.to_arrow().to_pylist()], expected["images"])
    again = lancedb.connect(tmp_path).open_table("items")  # the function comes with the table
    found = again.search(TEXTS[1]).distance_type("dot").limit(3).to_list()
    distances = 1 - expected["images"] @ expected["queries"][1]
    same([row["_distance"] for row in found], np.sort(distances))


def test_a_bias_must_be_a_coordinate() -> None:
    world, encoder = load_world(), im.load_encoder("emoji")
    texts = encoder.encode_texts(world.texts()[:300])
    images = encoder.encode_images(world.pictures("google")[:300])
    biased = im.fit("center-both", texts, images)
    with refused("bias-apart", "as_cosine"):
        ClosedEncoder(encoder, biased)
    closed = ClosedEncoder(encoder, as_cosine(biased, images))
    asked = closed.texts(world.texts()[:300], "query")
    stored = closed.images(world.pictures("google")[:300], "candidate")
    assert closed.dim == asked.shape[1] == encoder.dim + 2
    moved = biased.candidates(images)
    ranking = im.Ranking.of(biased.queries(texts), moved.rows, "dot", moved.bias)
    best = im.top_k(im.Ranking.of(asked, stored, "cosine"), 1).rows
    np.testing.assert_array_equal(best, im.top_k(ranking, 1).rows)
    assert closed.texts([], "query").shape == (0, encoder.dim + 2)
    with refused("wrong-dim", "fitted for 8"):
        ClosedEncoder(encoder, im.fit("mean-shift", texts[:, :8], images[:, :8]))
