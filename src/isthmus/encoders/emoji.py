"""The built-in emoji models: two small towers through ONNX Runtime, for learning and testing.

Not a CLIP: each was trained from nothing on about 1,600 emoji drawings and their English names
and tags. ``docs/emoji.md`` says how, and what was measured.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus.core.checks import one_of
from isthmus.core.libraries import library
from isthmus.encoders.base import Encoder
from isthmus.encoders.emoji_pixels import SIZE, small
from isthmus.encoders.emoji_text import tokenize
from isthmus.encoders.emoji_world import data_file
from isthmus.encoders.opening import usable_cores
from isthmus.errors import OptionError

if TYPE_CHECKING:
    from PIL.Image import Image


MOST_THREADS = 4
"""Batches of pictures at a time: the model takes three times as long as opening a small file, and
files are opened one at a time."""


@lru_cache(maxsize=1)
def _manifest() -> dict[str, Any]:
    return json.loads(data_file("figures.json").read_text(encoding="utf-8"))


def shipped_models() -> list[str]:
    """The variants that can follow ``emoji:``, the default first."""
    record = _manifest()
    first = record["default"]
    return [first, *(name for name in record["models"] if name != first)]


def stored_figures(model: str | None = None) -> dict[str, Any]:
    """What was measured of a model when it was exported (recall, zero-shot accuracy, gap)."""
    return _manifest()["models"][_chosen(model)]["figures"]


def _chosen(model: str | None) -> str:
    known = shipped_models()
    if model is None:
        return known[0]
    one_of(model, known, "emoji model", "unknown-model")
    return model


def _session(name: str, threads: int = 0) -> Any:
    """``threads`` is what one call of the session may use; 0 leaves it to ONNX Runtime."""
    onnxruntime = library("onnxruntime", "the emoji model", "onnxruntime", "demo")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    path = data_file(name)
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


class EmojiEncoder(Encoder):
    """``emoji`` or ``emoji:MODEL`` -> rows of 128 float32, not normalised.

    Images of any size (scaled to 32 x 32 pixels, padded with white to a square) and English
    texts (lower-cased, hashed n-grams; other alphabets give rows but were never seen in
    training). ``logit_scale`` is the factor on a cosine at the end of training; ``bias`` is set
    for the sigmoid model only. Runs on the CPU: about 0.8 ms a picture on one core, batches of
    pictures side by side on up to four; ``device`` must be ``"cpu"``. Raises
    :class:`OptionError` for an unknown model or device and :class:`MissingExtra` without ONNX
    Runtime.
    """

    def __init__(self, model: str | None = None, *, device: str = "cpu") -> None:
        if device != "cpu":
            raise OptionError(
                "no-such-device", f"the emoji model runs on 'cpu' only, got device '{device}'"
            )
        chosen = _chosen(model)
        record = _manifest()["models"][chosen]
        self.model = chosen
        self.name = "emoji" if model is None else f"emoji:{model}"
        self.dim = int(record["dim"])
        self.logit_scale = float(record["logit_scale"])
        self.bias = None if record["bias"] is None else float(record["bias"])
        # one core for each batch, so that no batch waits for a core that opens images
        self.threads = min(usable_cores(), MOST_THREADS)
        self._image = _session(f"{chosen}-image.onnx", threads=1)
        self._text = _session(f"{chosen}-text.onnx")

    def files(self) -> list[Path]:
        """The two graphs."""
        return [data_file(f"{self.model}-{side}.onnx") for side in ("image", "text")]

    def _prepare_image(self, image: Image) -> bytes:
        # here, one at a time, rather than while others compute; np.asarray costs twice as much
        return small(image).tobytes()

    def _embed_images(self, batch: list[bytes]) -> np.ndarray:
        rows = np.frombuffer(b"".join(batch), np.uint8).reshape(-1, SIZE, SIZE, 3)
        pixels = np.ascontiguousarray(rows.transpose(0, 3, 1, 2))
        return self._image.run(None, {"pixels": pixels})[0]

    def _embed_texts(self, batch: list[str]) -> np.ndarray:
        return self._text.run(None, {"grams": tokenize(batch)})[0]
