"""Fetch the two emoji drawings and their names, and write the compact data the package ships.

    python training/fetch.py [--cache .cache/emoji]

Needs ``npm`` on the path and Pillow. Three npm packages are packed into the cache (never into the
repository) and joined by hexcode: ``emoji-datasource-google`` and ``emoji-datasource-twitter``
(pictures) and ``emojibase-data`` (names, tags, groups, languages). Written into
``src/isthmus/encoders/emoji_data/``: ``google.webp``, ``twitter.webp`` (sprites, one tile per
emoji, row-major in the order of the names file) and ``names.json.gz``. Skin-tone variants and the
group "component" (bare skin tones and hair) are left out. The output depends on the packages and
the Pillow version only, not on the clock.
"""

from __future__ import annotations

import argparse
import gzip
import json
import subprocess
import tarfile
from pathlib import Path
from typing import Any

from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "src" / "isthmus" / "encoders" / "emoji_data"
PACKAGES = {
    "emoji-datasource-google": "16.0.0",
    "emoji-datasource-twitter": "16.0.0",
    "emojibase-data": "17.0.0",
}
TILE = 64
COLUMNS = 44
QUALITY = {"google": 82, "twitter": 82}
COMPONENT = 2


def unpacked(name: str, version: str, cache: Path) -> Path:
    """Pack one npm package into ``cache`` if it is not there yet; return its folder."""
    folder = cache / f"{name}-{version}"
    if not folder.exists():
        archive = cache / f"{name}-{version}.tgz"
        if not archive.exists():
            subprocess.run(["npm", "pack", f"{name}@{version}"], cwd=cache, check=True)
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
    return folder / "package"


def key(hexcode: str) -> str:
    """A hexcode without variation selectors: the form in which the packages agree."""
    return "-".join(part for part in hexcode.upper().split("-") if part != "FE0F")


def pictures(package: Path, vendor: str) -> dict[str, Path]:
    """Joined hexcode -> 64-pixel PNG of one drawing; fallback pictures of others left out."""
    found = {}
    for entry in json.loads((package / "emoji.json").read_text(encoding="utf-8")):
        path = package / "img" / vendor / "64" / entry["image"]
        if entry.get(f"has_img_{vendor}") and path.exists():
            found[key(entry["unified"])] = path
    return found


def languages(package: Path) -> list[str]:
    """Folders that hold a ``data.json``, English first."""
    codes = sorted(p.parent.name for p in package.glob("*/data.json"))
    return ["en"] + [code for code in codes if code != "en"]


def sprite(paths: list[Path], out: Path, quality: int) -> None:
    """Lay the pictures on a transparent sheet of ``COLUMNS`` tiles a row and save it as WebP."""
    rows = -(-len(paths) // COLUMNS)
    sheet = Image.new("RGBA", (COLUMNS * TILE, rows * TILE), (255, 255, 255, 0))
    for i, path in enumerate(paths):
        with Image.open(path) as picture:
            tile = picture.convert("RGBA")
        if tile.size != (TILE, TILE):
            tile = tile.resize((TILE, TILE), Image.Resampling.LANCZOS)
        sheet.paste(tile, ((i % COLUMNS) * TILE, (i // COLUMNS) * TILE))
    sheet.save(out, "WEBP", quality=quality, method=6, alpha_quality=90)


def joined(packages: dict[str, Path]) -> tuple[dict[str, Any], list[Path], list[Path]]:
    """The names record, and the pictures of both drawings in its order."""
    base = packages["emojibase-data"]
    google = pictures(packages["emoji-datasource-google"], "google")
    twitter = pictures(packages["emoji-datasource-twitter"], "twitter")
    groups = json.loads((base / "meta" / "groups.json").read_text(encoding="utf-8"))["groups"]
    messages = json.loads((base / "en" / "messages.json").read_text(encoding="utf-8"))
    english = json.loads((base / "en" / "data.json").read_text(encoding="utf-8"))
    title = {g["key"]: g["message"] for g in messages["groups"]}

    kept = [
        e
        for e in english
        if e.get("group") not in (None, COMPONENT)
        and key(e["hexcode"]) in google
        and key(e["hexcode"]) in twitter
    ]
    kept.sort(key=lambda e: e["order"])
    codes = [e["hexcode"] for e in kept]
    used = sorted({e["group"] for e in kept})
    labels = {}
    for code in languages(base):
        data = json.loads((base / code / "data.json").read_text(encoding="utf-8"))
        of = {e["hexcode"]: e["label"] for e in data}
        labels[code] = [of.get(h, "") for h in codes]
    record = {
        "tile": TILE,
        "columns": COLUMNS,
        "hexcodes": codes,
        "tags": [e.get("tags", []) for e in kept],
        "categories": [title[groups[str(g)]] for g in used],
        "category_of": [used.index(e["group"]) for e in kept],
        "labels": labels,
        "sources": PACKAGES,
    }
    return (record, [google[key(h)] for h in codes], [twitter[key(h)] for h in codes])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=Path, default=ROOT / ".cache" / "emoji")
    cache: Path = parser.parse_args().cache
    cache.mkdir(parents=True, exist_ok=True)
    packages = {name: unpacked(name, version, cache) for name, version in PACKAGES.items()}
    record, google, twitter = joined(packages)
    DATA.mkdir(parents=True, exist_ok=True)
    text = json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode()
    (DATA / "names.json.gz").write_bytes(gzip.compress(text, 9, mtime=0))
    sprite(google, DATA / "google.webp", QUALITY["google"])
    sprite(twitter, DATA / "twitter.webp", QUALITY["twitter"])
    print(f"{len(record['hexcodes'])} emoji, {len(record['labels'])} languages")
    for path in sorted(DATA.glob("*")):
        print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
