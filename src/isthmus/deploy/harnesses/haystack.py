"""Components of Haystack: https://docs.haystack.deepset.ai."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from isthmus.deploy.harnesses.closed import ClosedEncoder, image_path
from isthmus.errors import MissingExtra

try:
    from haystack import Document, component
except ImportError as missing:
    raise MissingExtra("isthmus.deploy.harnesses.haystack", "haystack-ai", "haystack") from missing


class _Loaded:
    """An encoder and a closer by their names, loaded when they are first needed."""

    encoder: str
    closer: str | None
    closed: ClosedEncoder | None = None

    def warm_up(self) -> None:
        """Load the model."""
        self.closed = self.closed or ClosedEncoder(self.encoder, self.closer)


@component
class ClosedTextEmbedder(_Loaded):
    """A question to its embedding, as a query.

    Args:
        encoder, closer: see :class:`~isthmus.deploy.harnesses.closed.ClosedEncoder`; names, so
            that the pipeline can be written to a file.
    """

    def __init__(self, encoder: str = "emoji", closer: str | None = None) -> None:
        self.encoder, self.closer = encoder, closer

    @component.output_types(embedding=list[float])
    def run(self, text: str) -> dict[str, Any]:
        """The question's row."""
        self.warm_up()
        assert self.closed is not None
        return {"embedding": self.closed.texts([text], "query")[0].tolist()}


@component
class ClosedDocumentEmbedder(_Loaded):
    """Documents with their embedding, as candidates: of their picture where ``meta`` names one.

    Args:
        encoder, closer: as above. image_key: entry of ``meta`` that holds the picture's path.
    """

    def __init__(
        self, encoder: str = "emoji", closer: str | None = None, image_key: str = "file_path"
    ) -> None:
        self.encoder, self.closer, self.image_key = encoder, closer, image_key

    @component.output_types(documents=list[Document])
    def run(self, documents: list[Document]) -> dict[str, Any]:
        """Copies of the documents, in order."""
        self.warm_up()
        assert self.closed is not None
        pictured = [bool(d.meta.get(self.image_key)) for d in documents]
        paths = [image_path(d.meta[self.image_key]) for d, p in zip(documents, pictured) if p]
        texts = [d.content or "" for d, p in zip(documents, pictured) if not p]
        images = iter(self.closed.images(paths, "candidate").tolist())
        words = iter(self.closed.texts(texts, "candidate").tolist())
        return {
            "documents": [
                replace(d, embedding=next(images if p else words))
                for d, p in zip(documents, pictured)
            ]
        }
