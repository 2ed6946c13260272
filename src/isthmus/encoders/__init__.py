"""Encoders: a model in, rows out. Reached by name; each needs its own library, imported late.

=====================================  ==========================================================
``emoji`` or ``emoji:VARIANT``         the small two-tower model that ships with Isthmus
``open_clip:MODEL@TAG``                an OpenCLIP model and the tag of its published weights
``open_clip:MODEL@/path/to.pt``        the same model with weights from a file
``open_clip:DIR``                      a folder that holds ``open_clip_config.json`` and weights
``transformers:DIR_OR_ID``             CLIP, SigLIP, SigLIP 2, or CLAP (sounds and texts)
``sentence_transformers:DIR_OR_ID``    a Sentence Transformers model, with or without an image side
``onnx:DIR``                           ``image.onnx`` and/or ``text.onnx`` and how to feed them
=====================================  ==========================================================
"""

from __future__ import annotations

from importlib import import_module

from isthmus.encoders.base import Encoder
from isthmus.errors import OptionError

__all__ = ["ENCODERS", "Encoder", "load_encoder"]

ENCODERS: dict[str, tuple[str, str]] = {
    "emoji": ("isthmus.encoders.emoji", "EmojiEncoder"),
    "open_clip": ("isthmus.encoders.openclip", "OpenClipEncoder"),
    "transformers": ("isthmus.encoders.hf", "TransformersEncoder"),
    "sentence_transformers": ("isthmus.encoders.sbert", "SentenceTransformersEncoder"),
    "onnx": ("isthmus.encoders.onnx_pair", "OnnxEncoder"),
}
"""Name -> (module, class). The class takes what follows the colon, or ``None``, and, unless it is
in ``CPU_ONLY``, ``device=``."""

CPU_ONLY = frozenset({"emoji"})


def load_encoder(name: str, *, device: str = "cpu") -> Encoder:
    """``"NAME[:MODEL]"`` -> the encoder, loaded and ready.

    ``device`` is ``"cpu"`` or a CUDA device such as ``"cuda"`` or ``"cuda:1"``. Raises
    :class:`~isthmus.errors.OptionError` for a name that is not known,
    :class:`~isthmus.errors.MissingExtra` when the encoder's library is not installed, and
    :class:`~isthmus.errors.FileError` when the model is not where it was said to be.
    """
    kind, _, model = name.partition(":")
    if kind not in ENCODERS:
        known = ", ".join(ENCODERS)
        raise OptionError(f"unknown encoder '{kind}'; known are: {known} (as NAME or NAME:MODEL)")
    if kind in CPU_ONLY and device != "cpu":
        raise OptionError(f"the encoder '{kind}' runs on the CPU only, got device='{device}'")
    module, cls = ENCODERS[kind]
    options = {} if kind in CPU_ONLY else {"device": device}
    encoder: Encoder = getattr(import_module(module), cls)(model or None, **options)
    return encoder
