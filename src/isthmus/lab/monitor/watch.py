"""A monitor that watches a torch model: rows from a forward hook, scale and bias with gradients.

watch = Watch(model)                     # any model whose output holds both towers' rows
for batch in loader:
    loss = ...
    loss.backward()
    watch.step(loss)
    optimizer.step()
    if step % 100 == 0:
        log(watch.read(step=step))
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from isthmus.errors import MissingExtra, OptionError
from isthmus.lab.monitor import Monitor
from isthmus.lab.monitor.window import Window

try:
    import torch
    import torch.distributed as dist
except ImportError as missing:
    raise MissingExtra("watching a model", "torch", "torch") from missing

if TYPE_CHECKING:
    from torch import Tensor, nn

PAIRS = (
    ("image_embeds", "text_embeds"),  # transformers: CLIP, SigLIP
    ("audio_embeds", "text_embeds"),  # transformers: CLAP
    ("image_features", "text_features"),  # open_clip with output_dict
    ("audio_features", "text_features"),
)
"""Names under which models return the rows of their two towers."""

Pick = Callable[[Any], "tuple[Tensor, Tensor] | None"]


def rows_of(output: Any) -> tuple[Tensor, Tensor] | None:
    """Both towers' rows in a model's output, or None: known names, or the first two of a tuple."""
    for first, second in PAIRS:
        found = _part(output, first), _part(output, second)
        if found[0] is not None and found[1] is not None:
            return found
    if isinstance(output, tuple | list) and len(output) > 1:
        x, y = output[:2]
        if all(isinstance(rows, torch.Tensor) and rows.ndim == 2 for rows in (x, y)):
            return (x, y) if x.shape == y.shape else None
    return None


def _part(output: Any, name: str) -> Any:
    return output.get(name) if isinstance(output, Mapping) else getattr(output, name, None)


def named_parameter(model: nn.Module, name: str) -> Tensor | None:
    """The parameter whose last name is ``name``, under whatever wrappers."""
    for full, parameter in model.named_parameters():
        if full.rpartition(".")[2] == name:
            return parameter
    return None


def gathered(monitor: Monitor) -> Monitor:
    """The monitor with what every rank saw; the same on all ranks. Without ranks, as it is.

    One collective of a few numbers and one of 3d² + 2d + 19 float64 a rank. Call it on every rank.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return monitor
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    dim = torch.tensor([monitor.window.pairs.a.dim], device=device)
    dist.all_reduce(dim, dist.ReduceOp.MAX)
    width = int(dim)
    mine = monitor.window
    if not mine.pairs.count:
        mine = Window(Window.empty(width).pairs, mine.sums)
    packed = torch.from_numpy(mine.pack()).to(device)
    all_packed = [torch.empty_like(packed) for _ in range(dist.get_world_size())]
    dist.all_gather(all_packed, packed)
    whole = Window.empty()
    for part in all_packed:
        whole = whole.merge(Window.unpack(part.cpu().numpy(), width))
    monitor.window = whole
    return monitor


class Watch:
    """A monitor fed by a model that trains.

    Attributes:
        monitor: what it feeds; ``diagnose`` and ``history`` are its own.

    Args:
        model: its output is looked through by ``pick``. monitor: None makes one. scale, bias: last
            names of the parameters that hold the log of the logit scale and the bias; a model
            without them is watched without.

    The hook keeps two tensors of the batch that is due and copies them to the host in :meth:`step`.
    On a GPU that copy waits for the batch: choose ``every`` so that it does not matter.
    """

    def __init__(
        self,
        model: nn.Module,
        monitor: Monitor | None = None,
        *,
        pick: Pick = rows_of,
        scale: str = "logit_scale",
        bias: str = "logit_bias",
    ) -> None:
        self.monitor = monitor or Monitor()
        self._pick = pick
        self._scale, self._bias = named_parameter(model, scale), named_parameter(model, bias)
        self._rows: tuple[Tensor, Tensor] | None = None
        self._loss: Any = None
        self._missed = 0
        self._hook = model.register_forward_hook(self._seen)

    def _seen(self, model: nn.Module, inputs: Any, output: Any) -> None:
        if not (model.training and torch.is_grad_enabled() and self.monitor.due()):
            return
        found = self._pick(output)
        if found is None:
            self._missed += 1
            if self._missed > 2:
                raise OptionError(
                    "no-rows",
                    "the model's output holds no rows of two towers under a known name; give "
                    "pick=, a function of the output that returns both (n, d) tensors",
                )
            return
        self._rows = found[0].detach(), found[1].detach()
        self._loss = _part(output, "loss")

    def step(self, loss: Any = None) -> None:
        """After the backward pass, before the optimiser's step: take in the last batch."""
        rows, self._rows = self._rows, None
        if rows is None:
            self.monitor.batches += 1
            return
        loss = self._loss if loss is None else loss
        values: dict[str, Any] = {"loss": None if loss is None else loss.detach()}
        if self._scale is not None:
            values["scale"] = math.exp(float(self._scale.detach()))
            values["scale_gradient"] = _gradient(self._scale)
        if self._bias is not None:
            values["bias"] = float(self._bias.detach())
            values["bias_gradient"] = _gradient(self._bias)
        self.monitor.update(rows[0].float(), rows[1].float(), **values)

    def read(self, **more: float | None) -> dict[str, Any]:
        """The numbers of all ranks since the last reading; see :meth:`Monitor.read`."""
        return gathered(self.monitor).read(**more)

    def remove(self) -> None:
        """Take the hook off the model."""
        self._hook.remove()


def _gradient(parameter: Tensor) -> float:
    return 0.0 if parameter.grad is None else float(parameter.grad)
