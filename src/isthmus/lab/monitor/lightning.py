"""The monitor as a callback of Lightning. It is registered nowhere: put it into ``callbacks=``."""

from __future__ import annotations

from typing import Any

from isthmus.errors import MissingExtra
from isthmus.lab.monitor import Monitor
from isthmus.lab.monitor.logs import plain_numbers
from isthmus.lab.monitor.watch import Pick, Watch, rows_of

try:
    from lightning.pytorch import Callback
except ImportError as missing:
    raise MissingExtra("GapCallback", "lightning", "lightning") from missing


class GapCallback(Callback):
    """Watch a ``LightningModule``; numbers go through its ``log_dict``, under ``gap/``.

    Args:
        module: name of the attribute that holds the two towers; None: the module itself, if its
            ``training_step`` calls it. read_every: batches between readings. pick: see
            :class:`~isthmus.lab.monitor.watch.Watch`.
    """

    def __init__(
        self,
        monitor: Monitor | None = None,
        *,
        module: str | None = None,
        read_every: int = 100,
        pick: Pick = rows_of,
    ) -> None:
        self.monitor = monitor or Monitor()
        self.module, self.read_every, self.pick = module, read_every, pick
        self.watch: Watch | None = None

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        model = pl_module if self.module is None else getattr(pl_module, self.module)
        self.watch = Watch(model, self.monitor, pick=self.pick)

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        if self.watch is not None:
            self.watch.step()

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        if self.watch is None or (batch_idx + 1) % self.read_every:
            return
        numbers = self.watch.read(step=trainer.global_step)
        if numbers["loss"] is None and loss is not None:
            numbers["loss"] = float(loss)
        pl_module.log_dict(plain_numbers(numbers))

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        if self.watch is not None:
            self.watch.remove()
