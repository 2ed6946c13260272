"""Facts of arrays: found once, forgotten with their array or by name."""

from __future__ import annotations

import numpy as np

from isthmus.core.arrays import Facts


def test_facts_are_found_once_and_again_after_they_were_forgotten() -> None:
    facts, rows, others = Facts(), np.ones(3), np.ones(3)
    found: list[str] = []

    def ask(name: str, of: np.ndarray) -> None:
        facts.of(name, lambda: found.append(name), of)

    for _ in range(2):
        ask("drawn: a", rows)
        ask("norms", rows)
    assert found == ["drawn: a", "norms"]
    ask("norms", others)
    facts.forget("drawn")
    for name in ("drawn: a", "norms"):
        ask(name, rows)
    assert found == ["drawn: a", "norms", "norms", "drawn: a"]
    facts.forget()
    ask("norms", rows)
    assert found[4:] == ["norms"]
    assert len(facts._found) == 1
    del rows
    assert not facts._found
