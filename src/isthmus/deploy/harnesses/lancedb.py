"""An embedding function of LanceDB: https://docs.lancedb.com."""

from __future__ import annotations

from typing import Any

import numpy as np

from isthmus.deploy.harnesses.closed import ClosedEncoder, image_path
from isthmus.errors import MissingExtra

try:
    from lancedb.embeddings import EmbeddingFunction, register
    from pydantic import PrivateAttr
except ImportError as missing:
    raise MissingExtra("isthmus.deploy.harnesses.lancedb", "lancedb", "lancedb") from missing


@register("isthmus")
class ClosedFunction(EmbeddingFunction):
    """What LanceDB calls for rows that come in (candidates) and for questions (queries).

    ``get_registry().get("isthmus").create(encoder=…, closer=…)``: names, which LanceDB keeps with
    the table. Sources are texts, or pictures where ``images`` is true (paths or ``file://``
    addresses). Questions are texts, or PIL images.
    """

    encoder: str = "emoji"
    closer: str | None = None
    images: bool = False
    _closed: ClosedEncoder | None = PrivateAttr(default=None)

    @property
    def closed(self) -> ClosedEncoder:
        """The model, loaded when it is first needed."""
        if self._closed is None:
            self._closed = ClosedEncoder(self.encoder, self.closer)
        return self._closed

    def ndims(self) -> int:
        """Length of a vector."""
        return self.closed.dim

    def compute_query_embeddings(self, query: Any, *args: Any, **kwargs: Any) -> list[np.ndarray]:
        """A question's row."""
        encode = self.closed.texts if isinstance(query, str) else self.closed.images
        return list(encode([query], "query"))

    def compute_source_embeddings(self, inputs: Any, *args: Any, **kwargs: Any) -> list[np.ndarray]:
        """Rows of a batch that is stored."""
        items = inputs.to_pylist() if hasattr(inputs, "to_pylist") else list(inputs)
        if self.images:
            paths = [image_path(item) if isinstance(item, str) else item for item in items]
            return list(self.closed.images(paths, "candidate"))
        return list(self.closed.texts(items, "candidate"))
