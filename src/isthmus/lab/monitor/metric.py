"""The monitor as a torchmetrics ``Metric``: synchronised between ranks, reset by its owner."""

from __future__ import annotations

from typing import Any

from isthmus.errors import MissingExtra
from isthmus.lab.monitor import Monitor
from isthmus.lab.monitor.watch import torch
from isthmus.lab.monitor.window import Window

try:
    from torchmetrics import Metric
except ImportError as missing:
    raise MissingExtra("GapMetric", "torchmetrics", "torchmetrics") from missing


class GapMetric(Metric):
    """``update(x, y, scale=…)`` with rows (n, dim); ``compute()`` gives a dict of float64 scalars.

    Numbers that were not said (no scale, no loss) are left out of the dict. The state is one
    vector of 3 dim² + 2 dim + 19 numbers, kept in float64 whatever the module's dtype.
    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = False
    packed: Any

    def __init__(self, dim: int, **options: Any) -> None:
        super().__init__(**options)
        self.dim = dim
        empty = torch.from_numpy(Window.empty(dim).pack())
        self.add_state("packed", default=empty, dist_reduce_fx=self._merged)

    def _merged(self, stacked: Any) -> Any:
        whole = Window.empty()
        for part in stacked:
            whole = whole.merge(Window.unpack(part.cpu().numpy(), self.dim))
        return self._packed(whole, stacked)

    def _packed(self, window: Window, like: Any) -> Any:
        if not window.pairs.count:
            window = Window(Window.empty(self.dim).pairs, window.sums)
        return torch.from_numpy(window.pack()).to(like.device)

    def update(self, x: Any, y: Any, **values: Any) -> None:
        """Take in one batch; ``values`` are those of :meth:`Monitor.update`."""
        monitor = Monitor(every=1)
        monitor.update(x, y, **values)
        whole = Window.unpack(self.packed.cpu().numpy(), self.dim).merge(monitor.window)
        self.packed = self._packed(whole, self.packed)

    def compute(self) -> dict[str, Any]:
        """The numbers of everything seen, on all ranks."""
        numbers = Window.unpack(self.packed.cpu().numpy(), self.dim).numbers()
        kept = {name: value for name, value in numbers.items() if value is not None}
        return {name: torch.tensor(value, dtype=torch.float64) for name, value in kept.items()}
