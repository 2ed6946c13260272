"""Sentence Transformers models: ``sentence_transformers:DIR_OR_ID``."""

from __future__ import annotations

from typing import Any

import numpy as np

from isthmus.core.libraries import library
from isthmus.encoders.base import Encoder
from isthmus.encoders.libraries import exponential, loading, no_model, scalar, torch_device
from isthmus.encoders.opening import default_workers


class SentenceTransformersEncoder(Encoder):
    """Rows of ``model.encode``: whatever the model's own modules give.

    A model that ends in a Normalize module gives rows of length 1, others do not. No prompt is
    added beyond the model's own default. A text-only model works for texts; a model's image side
    is used when it has one.
    """

    def __init__(self, model: str | None, *, device: str = "cpu") -> None:
        what, extra = "The encoder 'sentence_transformers'", "sentence-transformers"
        if not model:
            raise no_model("sentence_transformers:DIR_OR_ID")
        torch = library("torch", what, "torch", extra)
        package = library("sentence_transformers", what, "sentence-transformers", extra)
        found = torch_device(torch, device)
        self.name = f"sentence_transformers:{model}"
        self.workers = default_workers()
        with loading(what, model):
            network = package.SentenceTransformer(model, device=str(found))
        self._network = network.float().eval()
        self.logit_scale = exponential(_parameter(network, "logit_scale"))
        self.bias = scalar(_parameter(network, "logit_bias"))
        # releases that do not say what a model takes leave it to the model to refuse
        self._sides = tuple(getattr(network, "modalities", ("text", "image")))
        if "text" in self._sides:
            self.dim = int(self._embed_texts(["a"]).shape[1])
        else:
            blank = library("PIL.Image", what, "pillow", extra).new("RGB", (64, 64))
            self.dim = int(self._embed_images([blank]).shape[1])

    def _encode(self, batch: list[Any]) -> np.ndarray:
        return self._network.encode(
            batch, batch_size=len(batch), show_progress_bar=False, convert_to_numpy=True
        )

    def _embed_images(self, batch: list[Any]) -> np.ndarray:
        return self._encode(batch) if "image" in self._sides else super()._embed_images(batch)

    def _embed_texts(self, batch: list[str]) -> np.ndarray:
        return self._encode(batch) if "text" in self._sides else super()._embed_texts(batch)


def _parameter(network: Any, name: str) -> Any:
    """The first parameter of this name in any module inside ``network``, or None."""
    owners = (m for m in network.modules() if name in getattr(m, "_parameters", {}))
    return next((getattr(owner, name) for owner in owners), None)
