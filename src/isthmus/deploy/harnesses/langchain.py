"""LangChain's ``Embeddings``: https://python.langchain.com."""

from __future__ import annotations

import os
from typing import Any

from isthmus.deploy.harnesses.closed import ClosedEncoder, image_path
from isthmus.errors import MissingExtra

try:
    from langchain_core.embeddings import Embeddings
except ImportError as missing:
    raise MissingExtra(
        "isthmus.deploy.harnesses.langchain", "langchain-core", "langchain"
    ) from missing


class ClosedEmbeddings(Embeddings):
    """Documents are candidates, questions are queries; each goes through its own map.

    Args:
        encoder, closer: see :class:`~isthmus.deploy.harnesses.closed.ClosedEncoder`.
    """

    def __init__(self, encoder: Any = "emoji", closer: Any = None) -> None:
        self.closed = ClosedEncoder(encoder, closer)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Texts that are stored."""
        return self.closed.texts(texts, "candidate").tolist()

    def embed_image(self, uris: list[str | os.PathLike[str]]) -> list[list[float]]:
        """Pictures that are stored: paths or ``file://`` addresses."""
        return self.closed.images([image_path(uri) for uri in uris], "candidate").tolist()

    def embed_query(self, text: str) -> list[float]:
        """A question."""
        return self.closed.texts([text], "query")[0].tolist()
