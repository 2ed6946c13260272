"""OpenCLIP models: ``open_clip:MODEL@TAG``, ``open_clip:MODEL@/path/to.pt``, ``open_clip:DIR``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus.core.libraries import library
from isthmus.encoders.base import Encoder
from isthmus.encoders.libraries import exponential, loading, no_model, scalar, torch_device
from isthmus.encoders.opening import default_workers
from isthmus.errors import FileError, OptionError

if TYPE_CHECKING:
    from PIL.Image import Image

FORM = "'open_clip:MODEL@TAG', 'open_clip:MODEL@/path/to.pt', or 'open_clip:DIR'"


class OpenClipEncoder(Encoder):
    """Rows of ``model.encode_image`` and ``model.encode_text``, not normalised.

    ``model`` is an architecture and, after ``@``, the tag of its published weights or a file of
    weights; or a folder with ``open_clip_config.json`` and weights; or ``hf-hub:OWNER/NAME``.
    Weights are always asked for: a randomly initialised model is never handed out. Images go
    through the model's own inference transform, texts through its own tokenizer (which cuts them
    at the model's context length).
    """

    def __init__(self, model: str | None, *, device: str = "cpu") -> None:
        what = "The encoder 'open_clip'"
        self._torch = library("torch", what, "torch", "open-clip")
        open_clip = library("open_clip", what, "open-clip-torch", "open-clip")
        name, weights = self._parse(model, open_clip)
        self.name = f"open_clip:{model}"
        self.workers = default_workers()
        self._device = torch_device(self._torch, device)
        with loading(what, name if weights is None else f"{name}@{weights}"):
            network, self._transform = open_clip.create_model_from_pretrained(
                name, pretrained=weights, precision="fp32", device=self._device
            )
            self._tokenize = open_clip.get_tokenizer(name)
        self._network = network.eval()
        self.logit_scale = exponential(getattr(network, "logit_scale", None))
        self.bias = scalar(getattr(network, "logit_bias", None))
        self.dim = int(self._embed_texts(["a"]).shape[1])

    @staticmethod
    def _parse(model: str | None, open_clip: Any) -> tuple[str, str | None]:
        if not model:
            raise no_model(FORM)
        if model.startswith(("hf-hub:", "local-dir:")):
            return model, None
        if Path(model).is_dir():
            return f"local-dir:{model}", None
        name, _, weights = model.partition("@")
        name = name.replace("/", "-")
        if name not in open_clip.list_models():
            raise OptionError(
                "no-such-model", f"'{model}' is no folder and no model of open_clip; give {FORM}"
            )
        tags = open_clip.list_pretrained_tags_by_model(name)
        if not weights:
            raise OptionError(
                "no-weights",
                f"'{model}' names no weights; tags of {name} are: {', '.join(tags) or 'none'}",
            )
        if open_clip.get_pretrained_cfg(name, weights):
            return name, weights
        if not Path(weights).is_file():
            raise FileError(
                "no-weights",
                f"'{weights}' is no file and no tag of {name}: {', '.join(tags) or 'none'}",
            )
        return name, weights

    def _prepare_image(self, image: Image) -> Any:
        return self._transform(image)

    def _embed_images(self, batch: list[Any]) -> np.ndarray:
        with self._torch.no_grad():
            pixels = self._torch.stack(batch).to(self._device)
            return self._network.encode_image(pixels).float().cpu().numpy()

    def _embed_texts(self, batch: list[str]) -> np.ndarray:
        with self._torch.no_grad():
            tokens = self._tokenize(batch).to(self._device)
            return self._network.encode_text(tokens).float().cpu().numpy()
