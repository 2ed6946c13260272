"""Two ONNX files and a tokenizer: ``onnx:DIR``. Runs on ONNX Runtime, without torch.

``DIR`` holds ``preprocess.json`` and at least one of ``image.onnx`` and ``text.onnx`` (which then
needs ``tokenizer.json``, in the format of the ``tokenizers`` library). ``preprocess.json``::

    {
      "image": {
        "size": 224,                  one side of the square the model takes, or [height, width]
        "resize": "shortest",         shortest side to size, then centre crop; or "squash"
        "interpolation": "bicubic",   or "bilinear", "nearest", "lanczos"
        "mean": [0.48, 0.46, 0.41],   per channel, of values in [0, 1]
        "std": [0.27, 0.26, 0.28],
        "output": "image_embeds"      only where the graph has several outputs
      },
      "text": {
        "max_length": 77,             longer texts are cut, special tokens kept
        "pad": "longest",             to the longest of the batch; or "max_length"
        "pad_id": 0,
        "output": "text_embeds"       only where the graph has several outputs
      },
      "logit_scale": 100.0,           optional; already exponentiated
      "bias": null                    optional
    }

``image.onnx`` takes one float32 input (b, 3, height, width); ``text.onnx`` takes ``input_ids``
(b, length), and ``attention_mask`` and ``token_type_ids`` where it declares them, int64 or int32.
Rows are the named output, raw.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus.core.libraries import library
from isthmus.encoders.base import Encoder
from isthmus.encoders.libraries import loading, no_model
from isthmus.encoders.opening import default_workers
from isthmus.errors import CorruptFile, FileError, OptionError

if TYPE_CHECKING:
    from PIL.Image import Image

WHAT = "The encoder 'onnx'"


class OnnxEncoder(Encoder):
    """Rows of a pair of ONNX graphs, fed as ``preprocess.json`` says (see the module)."""

    def __init__(self, model: str | None, *, device: str = "cpu") -> None:
        if not model:
            raise no_model("onnx:DIR")
        runtime = library("onnxruntime", WHAT, "onnxruntime", "onnx")
        folder = Path(model)
        self.name = f"onnx:{model}"
        self.workers = default_workers()
        settings = _settings(folder)
        self.logit_scale = _number(settings, "logit_scale")
        self.bias = _number(settings, "bias")
        self._image = self._text = None
        dims: dict[str, int] = {}
        if (folder / "image.onnx").is_file():
            self._image = _Graph(runtime, folder / "image.onnx", settings.get("image"), device)
            self._picture = _Picture(self._image.settings)
            dims["image.onnx"] = self._embed_images([self._picture.blank()]).shape[1]
        if (folder / "text.onnx").is_file():
            self._text = _Graph(runtime, folder / "text.onnx", settings.get("text"), device)
            self._tokenizer = _tokenizer(folder / "tokenizer.json", self._text.settings)
            dims["text.onnx"] = self._embed_texts(["a"]).shape[1]
        if not dims:
            raise FileError("no-such-model", f"{folder} holds neither image.onnx nor text.onnx")
        if len(set(dims.values())) > 1:
            raise CorruptFile(
                "unequal-dimensions",
                f"the two graphs in {folder} give rows of different lengths: {dims}",
            )
        self.dim = next(iter(dims.values()))

    def _prepare_image(self, image: Image) -> np.ndarray:
        if self._image is None:
            return super()._embed_images([image])
        return self._picture(image)

    def _embed_images(self, batch: list[Any]) -> np.ndarray:
        if self._image is None:
            return super()._embed_images(batch)
        return self._image.run({self._image.inputs[0].name: np.stack(batch)})

    def _embed_texts(self, batch: list[str]) -> np.ndarray:
        if self._text is None:
            return super()._embed_texts(batch)
        encoded = self._tokenizer.encode_batch(batch)
        given = {
            "input_ids": [item.ids for item in encoded],
            "attention_mask": [item.attention_mask for item in encoded],
            "token_type_ids": [item.type_ids for item in encoded],
        }
        feed = {}
        for node in self._text.inputs:
            if node.name not in given:
                raise CorruptFile(
                    "unknown-input",
                    f"{self._text.path} asks for '{node.name}'; known are: {', '.join(given)}",
                )
            kind = np.int32 if node.type == "tensor(int32)" else np.int64
            feed[node.name] = np.asarray(given[node.name], dtype=kind)
        return self._text.run(feed)


class _Graph:
    """One ONNX file, the settings of its side, and the output that holds the rows."""

    def __init__(self, runtime: Any, path: Path, settings: Any, device: str) -> None:
        self.path = path
        if not isinstance(settings, dict):
            raise _wrong(f"has no object for the side of {path.name}")
        self.settings: dict[str, Any] = settings
        options = runtime.SessionOptions()
        # threads that wait by spinning would take the core on which the next images are opened
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        with loading(WHAT, str(path)):
            self.session = runtime.InferenceSession(
                str(path), options, providers=_provider(runtime, device)
            )
        self.inputs = self.session.get_inputs()
        names = [node.name for node in self.session.get_outputs()]
        self.output = str(settings.get("output") or (names[0] if len(names) == 1 else ""))
        if self.output not in names:
            raise CorruptFile(
                "ambiguous-output",
                f'{path}: name one of {", ".join(names)} as "output" in preprocess.json',
            )

    def run(self, feed: dict[str, np.ndarray]) -> np.ndarray:
        rows = np.asarray(self.session.run([self.output], feed)[0])
        if rows.ndim != 2:
            raise CorruptFile(
                "wrong-axes",
                f"the output '{self.output}' of {self.path} has shape {rows.shape}, expected "
                "two axes (batch, dim); name another output in preprocess.json",
            )
        return rows


class _Picture:
    """An RGB image -> (3, height, width) float32, resized, cropped and standardised."""

    def __init__(self, settings: dict[str, Any]) -> None:
        try:
            size = settings["size"]
            self.height, self.width = (size, size) if isinstance(size, int) else map(int, size)
            self.mean = np.asarray(settings["mean"], dtype=np.float32).reshape(3, 1, 1)
            self.std = np.asarray(settings["std"], dtype=np.float32).reshape(3, 1, 1)
        except (KeyError, TypeError, ValueError) as error:
            said = f"{type(error).__name__} {error}"
            raise _wrong(f"must give size, mean and std (3 numbers each): {said}") from None
        self.resize = _choice(settings, "resize", ("shortest", "squash"))
        filters = ("bicubic", "bilinear", "nearest", "lanczos")
        self.interpolation = _choice(settings, "interpolation", filters)

    def __call__(self, image: Image) -> np.ndarray:
        from PIL.Image import Resampling

        width, height = self.width, self.height
        if self.resize == "shortest":
            short = min(image.width / width, image.height / height)
            width = max(width, int(image.width / short))
            height = max(height, int(image.height / short))
        if image.size != (width, height):
            image = image.resize((width, height), Resampling[self.interpolation.upper()])
        left, top = round((width - self.width) / 2), round((height - self.height) / 2)
        if (left, top) != (0, 0) or image.size != (self.width, self.height):
            image = image.crop((left, top, left + self.width, top + self.height))
        pixels = np.asarray(image, dtype=np.float32).transpose(2, 0, 1) / 255
        return (pixels - self.mean) / self.std

    def blank(self) -> np.ndarray:
        return np.zeros((3, self.height, self.width), dtype=np.float32)


def _settings(folder: Path) -> dict[str, Any]:
    path = folder / "preprocess.json"
    if not path.is_file():
        raise FileError(
            "no-such-file", f"{path} is missing; an ONNX encoder is a folder that holds it"
        )
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise _wrong(f"is not JSON: {error}") from None
    if not isinstance(settings, dict):
        raise _wrong(f"must hold an object, got {type(settings).__name__}")
    return settings


def _tokenizer(path: Path, settings: dict[str, Any]) -> Any:
    tokenizers = library("tokenizers", f"{WHAT} with texts", "tokenizers", "onnx")
    if not path.is_file():
        raise FileError("no-such-file", f"{path} is missing; text.onnx needs it")
    with loading(WHAT, str(path)):
        tokenizer = tokenizers.Tokenizer.from_file(str(path))
    length = settings.get("max_length")
    if not isinstance(length, int) or length < 1:
        raise _wrong(f"must give the text's max_length, got {length!r}")
    pad = _choice(settings, "pad", ("longest", "max_length"))
    pad_id = int(settings.get("pad_id", 0))
    tokenizer.enable_truncation(length)
    tokenizer.enable_padding(
        pad_id=pad_id,
        pad_token=tokenizer.id_to_token(pad_id) or "[PAD]",
        length=length if pad == "max_length" else None,
    )
    return tokenizer


def _wrong(text: str) -> CorruptFile:
    return CorruptFile("wrong-settings", f"preprocess.json {text}")


def _choice(settings: dict[str, Any], key: str, values: tuple[str, ...]) -> str:
    value = settings.get(key, values[0])
    if value not in values:
        raise _wrong(f'has "{key}": {value!r}, expected one of {", ".join(values)}')
    return str(value)


def _number(settings: dict[str, Any], key: str) -> float | None:
    value = settings.get(key)
    if value is not None and not isinstance(value, (int, float)):
        raise _wrong(f'has "{key}": {value!r}, expected a number or null')
    return None if value is None else float(value)


def _provider(runtime: Any, device: str) -> list[Any]:
    if device == "cpu":
        return ["CPUExecutionProvider"]
    kind, _, index = device.partition(":")
    have = runtime.get_available_providers()
    if kind != "cuda" or "CUDAExecutionProvider" not in have:
        raise OptionError(
            "no-such-device", f"device '{device}' is not there: this ONNX Runtime has {have}"
        )
    return [("CUDAExecutionProvider", {"device_id": int(index or 0)}), "CPUExecutionProvider"]
