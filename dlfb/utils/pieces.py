"""A folder of tables, each in a Feather file that carries its own checksum in its name.

For results too large or too slow to make in one go: every file can be checked by itself, by
whoever finds it. A manifest says which files belong together, and is replaced in
one step, so that a reader finds the old set or the new one, whole.
"""

import hashlib
import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from dlfb.utils.store import Damaged, replacing

FORMAT = 1
MANIFEST = "manifest.json"
_DIGITS = 16  # of the checksum, in a name


class Newer(ValueError):
    """A file written by a later version of dlfb."""


def set_aside(path: Path) -> Path:
    """Rename a damaged file."""
    return path.replace(path.with_name(f"{path.name}.damaged"))


def write_piece(folder: Path, stem: str, table: pd.DataFrame) -> str:
    """Write a table aside and rename it; return its name, ``{stem}-{checksum}.feather``.

    Raises
    ------
    OSError
        If the disk is full, the folder can't be written to, and the like.
    """
    buffer = io.BytesIO()
    # Uncompressed: vectors of floats hardly shrink, and reading is faster so.
    table.reset_index(drop=True).to_feather(buffer, compression="uncompressed")
    name = f"{stem}-{_checksum(buffer.getbuffer())}.feather"
    with replacing(folder / name) as file:
        file.write(buffer.getbuffer())
    return name


def read_piece(file: Path) -> pd.DataFrame:
    """Read a table; :class:`Damaged` if it is not what was written, or is missing."""
    return pd.read_feather(io.BytesIO(_checked(file)))


def set_damaged_aside(folder: Path) -> list[str]:
    """Rename every file that is not what was written; return what to say about each."""
    said = []
    for file in sorted(folder.glob("*.feather")):
        try:
            _checked(file)
        except Damaged as error:
            said.append(f"{error} It was set aside as {set_aside(file).name}.")
    return said


def write_manifest(folder: Path, content: dict[str, Any]) -> None:
    """Replace the folder's manifest.

    Parameters
    ----------
    folder : Path
    content : dict
        What JSON has; under ``"pieces"``, lists of names of files in the folder.
    """
    content = {"format": FORMAT, **content}
    manifest = {"sha256": _checksum(_json(content)), "content": content}
    with replacing(folder / MANIFEST) as file:
        file.write(_json(manifest))


def read_manifest(folder: Path) -> dict | None:
    """Return the content of the folder's manifest, None if there is none.

    Raises
    ------
    Damaged
        If it is not what was written.
    Newer
        If a later version of dlfb wrote it.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        content, expected = manifest["content"], manifest["sha256"]
        newer = content["format"] > FORMAT
        pieces = () if newer else content["pieces"]
        outside = any(Path(name).name != name for names in pieces for name in names)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise Damaged(f"{folder / MANIFEST} is damaged.") from error
    if _checksum(_json(content)) != expected or outside:
        raise Damaged(f"{folder / MANIFEST} is damaged.")
    if newer:
        raise Newer(f"{folder} was written by a later version of dlfb. Update, or use another.")
    return content


def missing(folder: Path, names: Iterable[str]) -> bool:
    """Whether one of the named files is missing or damaged."""
    try:
        for name in names:
            _checked(folder / name)
    except Damaged:
        return True
    return False


def sweep(folder: Path, patterns: Iterable[str], keep: Iterable[str] = ()) -> None:
    """Delete the folder's files of these patterns, but for some."""
    keep = set(keep)
    for pattern in patterns:
        for file in folder.glob(pattern):
            if file.name not in keep:
                file.unlink(missing_ok=True)


def _checked(file: Path) -> bytes:
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        raise Damaged(f"{file} is missing.") from None
    if not file.stem.endswith(f"-{_checksum(data)}"):
        raise Damaged(f"{file} is damaged.")
    return data


def _checksum(data: bytes | memoryview) -> str:
    return hashlib.sha256(data).hexdigest()[:_DIGITS]


def _json(content: Any) -> bytes:
    return json.dumps(content, sort_keys=True, indent=1).encode()
