"""The versions that are tested as the lowest are those that are declared."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LOWEST = ROOT / ".ci/lowest.txt"


@pytest.mark.skipif(not LOWEST.exists(), reason="a source distribution has no .ci")
def test_the_lowest_versions_are_those_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    declared = [*project["dependencies"], *extras["test"]]
    pinned = re.findall(r"^([\w-]+)==(\S+)$", LOWEST.read_text(), re.MULTILINE)
    assert dict(pinned) == dict(re.fullmatch(r"([\w-]+)>=(\S+)", one).groups() for one in declared)
