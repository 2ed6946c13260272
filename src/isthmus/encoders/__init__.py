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

from dataclasses import dataclass
from importlib import import_module

from isthmus.core.registry import Registry, module_is_registry
from isthmus.encoders.base import Encoder

__all__ = ["ENCODERS", "Encoder", "EncoderEntry", "load_encoder"]


@dataclass(frozen=True)
class EncoderEntry:
    """How an encoder is made: ``path`` (``module:class``) is called with what follows the colon
    (None where nothing does) and with ``device=``."""

    path: str
    words: str


ENCODERS: Registry[EncoderEntry] = Registry("encoder", group="isthmus.encoders", kind=EncoderEntry)
"""Every encoder by the first part of its name. A third party adds an :class:`EncoderEntry` by an
entry point of the group ``isthmus.encoders``."""

for _name, _path, _words in (
    ("emoji", "emoji:EmojiEncoder", "the small two-tower model that ships with Isthmus"),
    ("open_clip", "openclip:OpenClipEncoder", "OpenCLIP: MODEL@TAG, MODEL@WEIGHTS or a folder"),
    ("transformers", "hf:TransformersEncoder", "CLIP, SigLIP, SigLIP 2 or CLAP of transformers"),
    (
        "sentence_transformers",
        "sbert:SentenceTransformersEncoder",
        "a Sentence Transformers model, with or without an image side",
    ),
    ("onnx", "onnx_pair:OnnxEncoder", "a folder with image.onnx and/or text.onnx"),
):
    ENCODERS.register(_name, EncoderEntry(f"isthmus.encoders.{_path}", _words))

module_is_registry(__name__, lambda: ENCODERS)


def load_encoder(name: str, *, device: str = "cpu") -> Encoder:
    """``"NAME[:MODEL]"`` -> the encoder, loaded and ready.

    ``device`` is ``"cpu"`` or a CUDA device such as ``"cuda"`` or ``"cuda:1"``.

    Raises:
        OptionError: a name or device that is not known. MissingExtra: the encoder's library is
            not installed. FileError: the model is not where it was said to be.

    >>> load_encoder("emoji").encode_texts(["a red apple"]).shape
    (1, 128)
    """
    kind, _, model = name.partition(":")
    entry = ENCODERS[kind]
    module, _, cls = entry.path.partition(":")
    encoder: Encoder = getattr(import_module(module), cls)(model or None, device=device)
    return encoder
