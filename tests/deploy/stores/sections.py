"""``docs/stores.md``: of each section what installs and what fills a store; the commands of all."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = (Path(__file__).parents[3] / "docs" / "stores.md").read_text(encoding="utf-8")
CONSOLE, PYTHON = (f"```{kind}\\n((?:(?!```).)*)```\\n" for kind in ("console", "python"))
FOUND = re.findall(
    rf"```console\n(pip [^\n]+)\nSTORE=\"([^\"]+)\"\n```\n\n"
    rf"<!-- store: ([\w-]+) -->\n{PYTHON}",
    PAGE,
    re.S,
)
BLOCKS = {name: (address, code) for _, address, name, code in FOUND}
"""Store -> its address, and what fills it."""
(COMMANDS,) = re.findall(f"<!-- commands -->\n{CONSOLE}", PAGE, re.S)
INSTALLS = {name: install for install, _, name, *_ in FOUND}
(ROWS,) = re.findall(f"<!-- rows -->\n{PYTHON}", PAGE, re.S)
SERVERS = {
    "postgresql": "postgresql://me@localhost/shop",
    "milvus": "localhost:19530",
    "redis": "redis://localhost:6379",
    "redisearch": "redis://localhost:6379",
}
"""What a block says for the server of a user."""


def at_server(name: str, real: str) -> tuple[str, str]:
    """Address and block of a store, at the server of another address of it."""
    address, block = BLOCKS[name]
    server = re.split("[?&](?=table=|key=|index=|collection=)", real)[0].removeprefix("milvus://")
    joined = "&" if "?" in server else "?"
    address = address.replace(SERVERS[name], server).replace(f"{server}?", server + joined)
    return address, block.replace(SERVERS[name], server)
