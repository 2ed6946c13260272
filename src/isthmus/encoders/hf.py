"""Models of Transformers: ``transformers:DIR_OR_ID`` (CLIP, SigLIP, SigLIP 2, CLAP)."""

from __future__ import annotations

import inspect
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus.core.libraries import library
from isthmus.encoders.base import Encoder
from isthmus.encoders.libraries import exponential, loading, no_model, scalar, torch_device
from isthmus.encoders.opening import default_workers
from isthmus.errors import OptionError

if TYPE_CHECKING:
    from PIL.Image import Image

    from isthmus.encoders.base import Sound


class TransformersEncoder(Encoder):
    """Rows of ``get_image_features``, ``get_text_features`` and ``get_audio_features``.

    Raw for CLIP and SigLIP; CLAP's own functions normalise, so its rows have length 1. Texts are
    cut at the model's context length; SigLIP's are padded to it, as it was trained. Any model of
    the library with these functions and a saved processor loads; tested are CLIP, SigLIP,
    SigLIP 2 and CLAP.

    Sounds are resampled to the model's rate and, where longer than its window (10 s for the
    published CLAP), cut to their *first* window: the library would cut at random.
    """

    def __init__(self, model: str | None, *, device: str = "cpu") -> None:
        what = "The encoder 'transformers'"
        if not model:
            raise no_model("transformers:DIR_OR_ID")
        self._torch = library("torch", what, "torch", "transformers")
        transformers = library("transformers", what, "transformers", "transformers")
        self.name = f"transformers:{model}"
        self.workers = default_workers()
        self._device = torch_device(self._torch, device)
        with loading(what, model):
            network = transformers.AutoModel.from_pretrained(model, dtype=self._torch.float32)
            self._processor = transformers.AutoProcessor.from_pretrained(model)
        self._network = network.to(self._device).eval()
        if not hasattr(network, "get_text_features"):
            raise OptionError(
                "wrong-model",
                f"'{model}' is a model of type '{network.config.model_type}', which has no "
                "get_text_features; expected a two-tower model such as CLIP, SigLIP or CLAP",
            )
        self._text_options = self._how_to_pad()
        scale = getattr(network, "logit_scale", getattr(network, "logit_scale_t", None))
        bias = getattr(network, "logit_bias", None)
        self.logit_scale, self.bias = exponential(scale), scalar(bias)
        self.dim = int(self._embed_texts(["a"]).shape[1])

    def _how_to_pad(self) -> dict[str, Any]:
        """Transformers' own defaults pad CLIP to the batch and cut nothing: say it in full."""
        config = self._network.config
        positions = int(config.text_config.max_position_embeddings)
        if config.model_type == "clap":  # RoBERTa keeps the first positions for its padding
            positions -= int(config.text_config.pad_token_id) + 1
        tokenizer = getattr(self._processor, "tokenizer", self._processor)
        length = min(positions, int(tokenizer.model_max_length))
        fixed = config.model_type.startswith("siglip")
        return {
            "padding": "max_length" if fixed else True,
            "truncation": True,
            "max_length": positions if fixed else length,
            "return_tensors": "pt",
        }

    def _features(self, side: str, inputs: dict[str, Any]) -> np.ndarray:
        method = getattr(self._network, f"get_{side}_features")
        takes = inspect.signature(method).parameters  # tokenizers may offer more, as token types
        with self._torch.no_grad():
            out = method(**{k: v.to(self._device) for k, v in inputs.items() if k in takes})
            rows = getattr(out, "pooler_output", out)  # a bare tensor before Transformers 5
            return rows.float().cpu().numpy()

    def _prepare_image(self, image: Image) -> Any:
        if not hasattr(self._network, "get_image_features"):
            super()._embed_images([image])  # says that there is no image side
        return dict(self._processor.image_processor(images=[image], return_tensors="pt"))

    def _embed_images(self, batch: list[Any]) -> np.ndarray:
        joined = {key: self._torch.cat([item[key] for item in batch]) for key in batch[0]}
        return self._features("image", joined)

    def _embed_texts(self, batch: list[str]) -> np.ndarray:
        tokenizer = getattr(self._processor, "tokenizer", self._processor)
        return self._features("text", dict(tokenizer(batch, **self._text_options)))

    def _embed_audio(self, batch: list[Sound]) -> np.ndarray:
        if not hasattr(self._network, "get_audio_features"):
            return super()._embed_audio(batch)
        extractor = self._processor.feature_extractor
        rate = int(extractor.sampling_rate)
        sounds = [_resampled(samples, have, rate) for samples, have in batch]
        sounds = [samples[: extractor.nb_max_samples] for samples in sounds]
        inputs = dict(extractor(sounds, sampling_rate=rate, return_tensors="pt"))
        if "is_longer" in inputs:  # none is; the fusion variant would mark one at random
            inputs["is_longer"] = self._torch.zeros((len(sounds), 1), dtype=self._torch.bool)
        return self._features("audio", inputs)


def _resampled(samples: np.ndarray, have: int, want: int) -> np.ndarray:
    """(s,) at ``have`` Hz -> at ``want`` Hz, by a polyphase filter; the same array if equal."""
    if have == want:
        return samples
    from scipy.signal import resample_poly

    common = math.gcd(have, want)
    return np.asarray(resample_poly(samples, want // common, have // common), dtype=np.float32)
