"""The monitor as a callback of transformers' ``Trainer`` (and sentence-transformers')."""

from __future__ import annotations

from typing import Any

from isthmus.errors import MissingExtra
from isthmus.lab.monitor import Monitor
from isthmus.lab.monitor.logs import Log, plain_numbers
from isthmus.lab.monitor.watch import Pick, Watch, rows_of

try:
    from transformers import TrainerCallback
except ImportError as missing:
    raise MissingExtra("GapCallback", "transformers", "transformers") from missing


class GapCallback(TrainerCallback):
    """Watch the model that a ``Trainer`` trains.

        GapCallback().attach(trainer)

    Numbers go through ``trainer.log``, so to every integration that the trainer reports to, under
    ``gap/``. Args: read_every: steps between readings. log: another function of a dict. pick: see
    :class:`~isthmus.lab.monitor.watch.Watch`.
    """

    def __init__(
        self,
        monitor: Monitor | None = None,
        *,
        read_every: int = 100,
        log: Log | None = None,
        pick: Pick = rows_of,
    ) -> None:
        self.monitor = monitor or Monitor()
        self.read_every, self.log, self.pick = read_every, log, pick
        self.watch: Watch | None = None

    def attach(self, trainer: Any) -> GapCallback:
        """Add it to a trainer and log through it."""
        self.log = self.log or trainer.log
        trainer.add_callback(self)
        return self

    def on_train_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        self.watch = Watch(more["model"], self.monitor, pick=self.pick)

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        if self.watch is not None:
            self.watch.step()

    def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        if self.watch is None or state.global_step % self.read_every:
            return
        numbers = self.watch.read(step=state.global_step)  # on every rank: it gathers
        if self.log is not None and state.is_world_process_zero:
            self.log(plain_numbers(numbers))

    def on_train_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        if self.watch is not None:
            self.watch.remove()
