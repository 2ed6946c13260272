"""Seconds from an empty environment to a checked deployment: ``python -m deploy.stores.minutes``.

From ``tests``, where the stores of ``.ci/install-stores`` are installed. Each section of
``docs/stores.md`` (or those that are named) is pasted into a shell as it stands: a fresh virtual
environment, the installation, rows, a store that is filled, and the commands.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from deploy.stores.kinds import KINDS
from deploy.stores.sections import BLOCKS, COMMANDS, INSTALLS, ROWS, SERVERS, at_server

HERE = Path(__file__).parents[3]


def pasted(name: str) -> tuple[float, float]:
    """Seconds of the installation, and of all that follows it."""
    with tempfile.TemporaryDirectory(prefix="isthmus-minutes-") as folder:
        address, block = BLOCKS[name]
        if name in SERVERS:
            fill = KINDS[name](Path(tempfile.mkdtemp(prefix="isthmus-server-")))
            score = "cosine" if name == "redis" else "dot"
            address, block = at_server(name, fill(np.eye(2, dtype=np.float32), score))
        install = INSTALLS[name].replace("'.", f"'{HERE}").replace(" .", f" {HERE}")
        python = f"{sys.executable} -m venv env && . env/bin/activate"
        steps = [
            f"{python} && {install} && pip install -q onnxruntime pillow",
            f'. env/bin/activate\nSTORE="{address}"\n'
            f"python - <<'EOF'\n{ROWS}EOF\npython - <<'EOF'\n{block}EOF\n{COMMANDS}",
        ]
        seconds = []
        for step in steps:
            began = time.monotonic()
            subprocess.run(["sh", "-ec", step], cwd=folder, check=True, capture_output=True)
            seconds.append(time.monotonic() - began)
    return seconds[0], seconds[1]


if __name__ == "__main__":
    print("| store | seconds of installation | of all that follows |\n|---|---|---|")
    for one in sys.argv[1:] or BLOCKS:
        print("| {} | {:.0f} | {:.0f} |".format(one, *pasted(one)), flush=True)
