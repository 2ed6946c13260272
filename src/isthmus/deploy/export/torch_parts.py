"""The torch classes. Imported only where torch is asked for."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.functional import linear

from isthmus.closers.closer import Closer, Role
from isthmus.closers.maps import AffineMap
from isthmus.deploy.export.stores import Evened
from isthmus.errors import CloserError, ShapeError


def unit(rows: torch.Tensor) -> torch.Tensor:
    """Rows over their norms, through their largest magnitude so that squares stay in range."""
    tiny = torch.finfo(rows.dtype).tiny
    scaled = rows / rows.abs().amax(-1, keepdim=True).clamp_min(tiny)
    return scaled / scaled.norm(dim=-1, keepdim=True).clamp_min(tiny)


def _buffer(values: Any) -> torch.Tensor | None:
    return None if values is None else torch.as_tensor(values, dtype=torch.float32)


class Step(nn.Module):
    """One :class:`~isthmus.closers.maps.AffineMap`: buffers ``matrix`` (r, d) and ``offset``
    (r,)."""

    def __init__(self, step: AffineMap) -> None:
        super().__init__()
        self.normalised, self.renormalised = bool(step.normalised), bool(step.renormalised)
        self.register_buffer("matrix", _buffer(step.matrix))
        self.register_buffer("offset", _buffer(step.offset))

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        if self.normalised:
            rows = unit(rows)
        if self.matrix is not None:
            rows = linear(rows, self.matrix)
        if self.offset is not None:
            rows = rows + self.offset
        return unit(rows) if self.renormalised else rows


class ClosingModule(nn.Module):
    """One role of a closer: rows (…, d) -> (…, r), float32 (half precision is computed in it).

    ``candidate_bias(rows)`` gives the candidates' biases (…,), zeros where there is none, from the
    rows as they enter. The state dict holds float32 buffers; flags and shapes come from the closer
    that the module is built of.
    """

    def __init__(self, closer: Closer | Evened, role: Role) -> None:
        super().__init__()
        inner = closer.closer if isinstance(closer, Evened) else closer
        side = inner.map_of(role)
        self.role, self.dim, self.dim_out = role, side.dim, side.dim_out
        self.score = closer.score
        self.steps = nn.Sequential(*(Step(step) for step in side.steps))
        self.bias_of_unit = bool(side.normalised)
        candidate = role == "candidate"
        self.register_buffer("bias", _buffer(inner.bias_weights) if candidate else None)
        self.evens, self.squares = isinstance(closer, Evened), True
        limit = None
        if isinstance(closer, Evened):
            self.dim_out, self.squares = closer.dim_out, closer.squares
            limit = torch.tensor(closer.limit, dtype=torch.float32) if candidate else None
        self.register_buffer("limit", limit)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        rows = self._working(rows)
        out = self.steps(rows)
        if not self.evens:
            return out
        if self.limit is None:  # queries
            return torch.cat([out, torch.zeros_like(out[..., :1])], -1)
        rest = self.limit - 2 * self._bias_of(rows)
        if self.squares:
            rest = rest - out.square().sum(-1)
        return torch.cat([out, rest.clamp_min(0).sqrt()[..., None]], -1)

    def candidate_bias(self, rows: torch.Tensor) -> torch.Tensor:
        """The bias of each candidate, from its row before the map: add it to its score.

        Raises:
            CloserError: this is the queries' module.
        """
        if self.role != "candidate":
            raise CloserError(
                "no-bias", "queries have no candidate bias; ask the candidates' module"
            )
        rows = self._working(rows)
        return torch.zeros_like(rows[..., 0]) if self.evens else self._bias_of(rows)

    def _bias_of(self, rows: torch.Tensor) -> torch.Tensor:
        if self.bias is None:
            return torch.zeros_like(rows[..., 0])
        return (unit(rows) if self.bias_of_unit else rows) @ self.bias

    def _working(self, rows: torch.Tensor) -> torch.Tensor:
        if rows.shape[-1] != self.dim:
            raise ShapeError(
                "unequal-dimensions",
                f"rows have shape {tuple(rows.shape)}, the closer {self.dim} dimensions",
            )
        held = next((b.dtype for b in self.buffers()), None)
        half = rows.dtype in (torch.float16, torch.bfloat16)
        return rows.to(held or torch.float32) if held or half else rows


class ClosedClip(nn.Module):
    """An OpenCLIP model whose ``encode_image`` and ``encode_text`` give closed rows.

    Everything else (``visual``, ``logit_scale``, ``context_length`` …) is the model's own. Its
    state dict has the model under ``clip.`` and the closer under ``closing.``: a plain model that
    is given it refuses by name instead of losing the closer.
    """

    def __init__(self, clip: nn.Module, closer: Closer | Evened, query: str) -> None:
        super().__init__()
        self.clip = clip
        self.score = closer.score
        roles: dict[str, Role] = (
            {"image": "query", "text": "candidate"}
            if query == "image"
            else {"text": "query", "image": "candidate"}
        )
        self.closing = nn.ModuleDict({name: ClosingModule(closer, roles[name]) for name in roles})
        where = next(clip.parameters(), None)
        if where is not None:
            self.closing.to(where.device)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("clip"), name)

    def encode_image(self, image: Any, normalize: bool = False) -> torch.Tensor:
        """Closed rows of pictures."""
        return self._rows("image", self.clip.encode_image(image), normalize)

    def encode_text(self, text: Any, normalize: bool = False) -> torch.Tensor:
        """Closed rows of tokens."""
        return self._rows("text", self.clip.encode_text(text), normalize)

    def candidate_bias(self, inputs: Any) -> torch.Tensor:
        """The bias of each candidate, (n,): pictures or tokens, whichever they are."""
        if self.closing["image"].role == "candidate":
            return self.closing["image"].candidate_bias(self.clip.encode_image(inputs))
        return self.closing["text"].candidate_bias(self.clip.encode_text(inputs))

    def forward(self, image: Any = None, text: Any = None) -> tuple[Any, ...]:
        """(rows of pictures, rows of texts, scale), as OpenCLIP's own; None for what is not given.

        The scale belongs to cosine. The bias follows where the model has one.
        """
        pictures = None if image is None else self.encode_image(image)
        texts = None if text is None else self.encode_text(text)
        bias = getattr(self.clip, "logit_bias", None)
        scale = self.clip.logit_scale.exp()
        return (pictures, texts, scale) if bias is None else (pictures, texts, scale, bias)

    def _rows(self, name: str, raw: torch.Tensor, normalize: bool) -> torch.Tensor:
        if normalize and self.score != "cosine":
            raise CloserError(
                "normalised-differs",
                f"normalize=True would undo a closer that is searched by {self.score}",
            )
        rows = self.closing[name](raw)
        return unit(rows) if normalize else rows
