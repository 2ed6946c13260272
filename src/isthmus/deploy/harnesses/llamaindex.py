"""LlamaIndex's ``MultiModalEmbedding``: https://docs.llamaindex.ai."""

from __future__ import annotations

import asyncio
from typing import Any

from isthmus.deploy.harnesses.closed import ClosedEncoder, image_path
from isthmus.errors import MissingExtra

try:
    from llama_index.core.bridge.pydantic import PrivateAttr
    from llama_index.core.embeddings import MultiModalEmbedding
except ImportError as missing:
    raise MissingExtra(
        "isthmus.deploy.harnesses.llamaindex", "llama-index-core", "llama-index"
    ) from missing


class ClosedEmbedding(MultiModalEmbedding):
    """Texts and pictures of nodes are candidates, questions are queries.

    Args:
        encoder, closer: see :class:`~isthmus.deploy.harnesses.closed.ClosedEncoder`. options:
            those of LlamaIndex, such as ``embed_batch_size``.
    """

    _closed: ClosedEncoder = PrivateAttr()

    def __init__(self, encoder: Any = "emoji", closer: Any = None, **options: Any) -> None:
        closed = ClosedEncoder(encoder, closer)
        super().__init__(model_name=closed.encoder.name, **options)
        self._closed = closed

    @classmethod
    def class_name(cls) -> str:
        """What LlamaIndex calls it."""
        return "IsthmusClosedEmbedding"

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._closed.texts([query], "query")[0].tolist()

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_text_embeddings([text])[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return self._closed.texts(texts, "candidate").tolist()

    def _get_image_embedding(self, img_file_path: Any) -> list[float]:
        return self._get_image_embeddings([img_file_path])[0]

    def _get_image_embeddings(self, img_file_paths: list[Any]) -> list[list[float]]:
        paths = [image_path(p) if isinstance(p, str) else p for p in img_file_paths]
        return self._closed.images(paths, "candidate").tolist()

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return await asyncio.to_thread(self._get_query_embedding, query)

    async def _aget_image_embedding(self, img_file_path: Any) -> list[float]:
        return await asyncio.to_thread(self._get_image_embedding, img_file_path)
