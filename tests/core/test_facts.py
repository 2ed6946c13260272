"""Facts of arrays: found once, forgotten with their array or when asked."""

from __future__ import annotations

import numpy as np

from isthmus.core.arrays import Facts


def test_facts_are_found_once_and_again_after_they_were_forgotten() -> None:
    facts, rows, others = Facts(), np.ones(3), np.ones(3)
    found: list[str] = []

    def ask(name: str, of: np.ndarray) -> None:
        facts.of(name, lambda: found.append(name), of)

    for _ in range(2):
        ask("norms", rows)
        ask("variance", rows)
    assert found == ["norms", "variance"]
    ask("norms", others)
    facts.forget()
    ask("norms", rows)
    assert found[2:] == ["norms", "norms"]
    assert len(facts._found) == 1
    del rows
    assert not facts._found
