"""Models of mteb before and after closing: https://github.com/embeddings-benchmark/mteb."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from isthmus.closers.closer import Closer, Role
from isthmus.core.arrays import to_numpy
from isthmus.deploy.harnesses.closed import check_no_bias
from isthmus.encoders.base import Encoder
from isthmus.errors import MissingExtra, OptionError
from isthmus.search.scores import Ranking

try:
    import torch
    from mteb.models import ModelMeta, SearchEncoderWrapper
except ImportError as missing:
    raise MissingExtra("isthmus.deploy.harnesses.mteb", "mteb", "mteb") from missing

ROLES: dict[str, Role] = {"query": "query", "document": "candidate"}
"""``prompt_type`` of mteb -> role."""


class EncoderModel:
    """An encoder of ours as mteb's ``EncoderProtocol``; images and texts, scored by cosine."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self.mteb_model_meta = ModelMeta.create_empty(
            overwrites={
                "name": f"isthmus/{encoder.name.replace(':', '-').replace('/', '-')}",
                "revision": "1",
                "modalities": ["text", "image"],
                "embed_dim": encoder.dim,
                "similarity_fn_name": "cosine",
            }
        )

    def encode(self, inputs: Any, **_: Any) -> np.ndarray:
        """Rows (n, dim) of batches that hold images or texts."""
        parts = []
        for batch in inputs:
            if ("image" in batch) == ("text" in batch):
                raise OptionError(
                    "no-such-side",
                    f"a batch holds {', '.join(sorted(batch))}; expected images or texts, one of "
                    "them for each item",
                )
            image = "image" in batch
            encode = self.encoder.encode_images if image else self.encoder.encode_texts
            parts.append(encode(list(batch["image" if image else "text"])))
        return np.concatenate(parts)

    def similarity(self, embeddings1: Any, embeddings2: Any) -> torch.Tensor:
        """Cosines, (n, m)."""
        return _scores(embeddings1, embeddings2, "cosine")

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> torch.Tensor:
        """Cosine of row i with row i, (n,)."""
        return torch.diagonal(self.similarity(embeddings1, embeddings2))


class ClosedModel:
    """Any encoder of mteb, and then a closer: queries and documents each by their own map.

    Args:
        model: an ``EncoderProtocol``: what ``mteb.get_model`` gives, or an :class:`EncoderModel`.
        closer: without a candidate bias, or :class:`ClosedSearch` carries it.
        roles: modality -> ``query`` or ``candidate``, for tasks that do not say a role, such as
            zero-shot classification: ``{"image": "query", "text": "candidate"}``.

    The name that results are kept under says the closer, so nothing is taken from the cache of the
    model as it was.

    Raises:
        CloserError: the closer has a candidate bias.
    """

    def __init__(
        self, model: Any, closer: Closer, *, roles: Mapping[str, Role] | None = None
    ) -> None:
        check_no_bias(closer)
        self.model, self.closer, self.roles = model, closer, dict(roles or {})
        meta = model.mteb_model_meta
        numbers = b"".join(array.tobytes() for array in closer._parts()[1].values())
        about = {"closer": closer.name, "digest": hashlib.sha256(numbers).hexdigest()[:12]}
        self.mteb_model_meta = meta.model_copy(
            update={
                "name": f"{meta.name}-{closer.name}",
                "experiment_kwargs": {**(meta.experiment_kwargs or {}), **about},
                "embed_dim": closer.query.dim_out,
            }
        )

    def encode(self, inputs: Any, *, prompt_type: Any = None, **options: Any) -> np.ndarray:
        """The model's rows through the map of their role."""
        rows = self._encoded(inputs, prompt_type, options)
        return np.asarray(self.closer.apply(rows, self._role(inputs, prompt_type)))

    def _encoded(self, inputs: Any, prompt_type: Any, options: Mapping[str, Any]) -> np.ndarray:
        rows = to_numpy(self.model.encode(inputs, prompt_type=prompt_type, **options))
        return rows if rows.dtype == np.float64 else rows.astype(np.float32)

    def _role(self, inputs: Any, prompt_type: Any) -> Role:
        if prompt_type is not None:
            return ROLES[getattr(prompt_type, "value", prompt_type)]
        features = set(getattr(inputs.dataset, "column_names", ()) or ())
        known = {self.roles[modality] for modality in features & set(self.roles)}
        if len(known) != 1:
            raise OptionError(
                "unknown-role",
                "the task does not say what is asked and what is searched; say it by modality, "
                'such as roles={"image": "query", "text": "candidate"}',
            )
        return known.pop()

    def similarity(self, embeddings1: Any, embeddings2: Any) -> torch.Tensor:
        """Scores (n, m) of closed queries and candidates, by the closer's score."""
        return _scores(embeddings1, embeddings2, self.closer.score)

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> torch.Tensor:
        """The same of row i with row i, (n,)."""
        return torch.diagonal(self.similarity(embeddings1, embeddings2))


class _Biased(ClosedModel):
    """Documents carry their bias as a last column, which is added to the score of all others."""

    def __init__(self, model: Any, closer: Closer) -> None:
        super().__init__(model, replace(closer, bias_weights=None))
        self.biased = closer

    def encode(self, inputs: Any, *, prompt_type: Any = None, **options: Any) -> np.ndarray:
        rows = self._encoded(inputs, prompt_type, options)
        role = self._role(inputs, prompt_type)
        bias = np.zeros(len(rows))
        if role == "candidate":
            bias = self.biased.candidate_bias(rows)
        return np.column_stack([np.asarray(self.closer.apply(rows, role)), bias])

    def similarity(self, embeddings1: Any, embeddings2: Any) -> torch.Tensor:
        first, second = to_numpy(embeddings1), to_numpy(embeddings2)
        return _scores(first[:, :-1], second[:, :-1], self.closer.score, second[:, -1])


class ClosedSearch(SearchEncoderWrapper):
    """mteb's ``SearchProtocol`` of a closed model, with the candidate bias added to every score.

    Args:
        model: an ``EncoderProtocol``. closer: any. options: those of mteb's
            ``SearchEncoderWrapper``, such as ``corpus_chunk_size``; an index of its own cannot add
            the bias.
    """

    def __init__(self, model: Any, closer: Closer, **options: Any) -> None:
        super().__init__(_Biased(model, closer), **options)


def _scores(
    queries: Any, candidates: Any, score: str, bias: np.ndarray | None = None
) -> torch.Tensor:
    ranking = Ranking.of(to_numpy(queries), to_numpy(candidates), score, bias)
    scores = np.concatenate([block for _, block in ranking.score_blocks()])
    if score == "cosine":
        scores /= np.linalg.norm(ranking.queries, axis=1, keepdims=True)
    return torch.from_numpy(scores)
