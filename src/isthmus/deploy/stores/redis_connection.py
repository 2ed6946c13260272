"""The connection to Redis, and marks: keys that end in ``:isthmus``."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from isthmus.deploy.stores.store import Mark, Store


class Redis(Store):
    """What vector sets and RediSearch have in common."""

    scheme, extra, client = "redis", "redis", "redis"
    name, module = "Redis", "redis"

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """What redis-py raises."""
        return (self.library.RedisError,)

    def connect(self) -> Any:
        """Open the connection; answers come in the older of Redis's two forms (RESP2)."""
        with self.opening(*self.errors, ValueError):
            place = self.address.place  # its usual 5 seconds are too few for a batch of vectors
            client = self.library.Redis.from_url(place, protocol=2, socket_timeout=None)
            client.ping()
        return client

    def _ask(self, *words: Any) -> Any:
        return self._ask_all([words])[0]

    def _ask_all(self, commands: Iterable[Sequence[Any]], *, atomic: bool = False) -> list[Any]:
        """Answers to commands that travel together, all or none of them where ``atomic``."""
        with self.answering():
            pipe = self.connection.pipeline(transaction=atomic)
            for words in commands:
                pipe.execute_command(*words)
            return list(pipe.execute())

    @property
    @abstractmethod
    def _name(self) -> str:
        """Key of the set, or name of the index."""

    @property
    def _mark_key(self) -> str:
        return self._name + ":isthmus"

    def mark(self) -> Mark | None:
        """The key of the mark."""
        said = self._ask("GET", self._mark_key)
        return Mark.of_text(said.decode()) if said else None

    def _marking(self, mark: Mark) -> tuple[str, str, str]:
        return "SET", self._mark_key, mark.text

    def finish(self, mark: Mark) -> None:
        """The mark; indexes grow as vectors are written."""
        self._ask(*self._marking(replace(mark, complete=True)))
