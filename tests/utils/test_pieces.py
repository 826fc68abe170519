"""A folder of pieces: torn, cut, flipped, foreign, newer; and whole whatever happens."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dlfb.utils import pieces, store
from tests.utils.keeping import steps_of_writing

ROOT = Path(__file__).parents[2]
TABLE = pd.DataFrame({"EntryID": ["P1", "P2"], "ME:1": np.float32([0.5, -1])}, index=[7, 9])


@pytest.fixture
def written(tmp_path):
    """Return a folder with one piece and a manifest that lists it."""
    name = pieces.write_piece(tmp_path, "vectors-abc", TABLE)
    pieces.write_manifest(tmp_path, {"asked": {"model": "m"}, "pieces": [[name]]})
    return tmp_path


def the_piece(folder):
    [file] = folder.glob("*.feather")
    return file


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_piece_comes_back_and_its_name_says_what_it_holds(tmp_path):
    name = pieces.write_piece(tmp_path, "vectors-abc", TABLE)
    back = pieces.read_piece(tmp_path / name)
    pd.testing.assert_frame_equal(back, TABLE.reset_index(drop=True), check_exact=True)
    # The same table has the same name, so that writing it again adds no file.
    assert pieces.write_piece(tmp_path, "vectors-abc", TABLE) == name == names(tmp_path)[0]
    other = pieces.write_piece(tmp_path, "vectors-abc", TABLE.assign(**{"ME:1": 0.5}))
    assert other != name and len(names(tmp_path)) == 2


def test_any_tool_can_read_a_piece(written):
    import pyarrow.feather

    assert pyarrow.feather.read_table(the_piece(written)).column_names == ["EntryID", "ME:1"]


def test_any_flipped_byte_and_any_cut_of_a_piece_is_noticed(written):
    file = the_piece(written)
    whole = file.read_bytes()
    damaged = [whole[:i] for i in range(len(whole))] + [whole + b"\0"]
    for i in range(len(whole)):
        flip = (1, 0x20, 0xFF)[i % 3]
        damaged.append(whole[:i] + bytes([whole[i] ^ flip]) + whole[i + 1 :])
    for data in damaged:
        file.write_bytes(data)
        with pytest.raises(pieces.Damaged, match=f"{file.name} is damaged"):
            pieces.read_piece(file)
    file.write_bytes(whole)
    assert len(pieces.read_piece(file)) == 2 and not pieces.missing(written, [file.name])


def test_any_flipped_letter_and_any_cut_of_a_manifest_is_noticed(written):
    file = written / pieces.MANIFEST
    whole, content = file.read_bytes(), pieces.read_manifest(written)
    for i in range(len(whole)):
        flipped = whole[:i] + bytes([whole[i] ^ (1, 0x20, 0xFF)[i % 3]]) + whole[i + 1 :]
        for data in (whole[:i], flipped):
            file.write_bytes(data)
            try:
                found = pieces.read_manifest(written)
            except pieces.Damaged:
                continue
            # White space between its items carries nothing.
            assert data == flipped and whole[i : i + 1].isspace() and found == content


def test_what_is_damaged_is_set_aside_and_named(written):
    file, good = the_piece(written), pieces.write_piece(written, "table", TABLE)
    assert pieces.set_damaged_aside(written) == []
    file.rename(written / "mine.feather")  # foreign: no checksum in its name
    bad = pieces.write_piece(written, "torn", TABLE)
    (written / bad).write_bytes(b"ARROW1")
    assert pieces.set_damaged_aside(written) == [
        f"{written / name} is damaged. It was set aside as {name}.1.damaged."
        for name in ("mine.feather", bad)
    ]
    assert names(written) == sorted(
        [good, pieces.MANIFEST, "mine.feather.1.damaged", f"{bad}.1.damaged"]
    )
    assert pieces.missing(written, [file.name]) and pieces.missing(written, [good, bad])
    assert not pieces.missing(written, [good])
    with pytest.raises(pieces.Damaged, match="is missing"):
        pieces.read_piece(file)


def test_a_folder_without_a_manifest_holds_nothing_yet(tmp_path):
    assert pieces.read_manifest(tmp_path) is None
    assert pieces.read_manifest(tmp_path / "nowhere") is None


def crafted(folder, content):
    """Write a manifest of any content, with a checksum that agrees."""
    text = pieces._json({"sha256": pieces._checksum(pieces._json(content)), "content": content})
    (folder / pieces.MANIFEST).write_bytes(text)


@pytest.mark.parametrize(
    "content",
    [
        {"format": 1, "pieces": [["../outside.feather"]]},
        {"format": 1, "pieces": [["sub/inside.feather"]]},
        {"format": 1, "pieces": [["/etc/passwd"]]},
        {"format": 1, "pieces": [[1]]},
        {"format": 1, "pieces": 5},
        {"format": 1},
        {"format": "one", "pieces": []},
        {"pieces": []},
        [],
    ],
)
def test_a_crafted_manifest_is_damaged(tmp_path, content):
    crafted(tmp_path, content)
    with pytest.raises(pieces.Damaged, match="manifest.json is damaged"):
        pieces.read_manifest(tmp_path)


def test_a_manifest_of_a_later_version_is_said_to_be_one(tmp_path):
    crafted(tmp_path, {"format": pieces.FORMAT + 1, "parts": "of another make"})
    with pytest.raises(pieces.Newer, match="written by a later version of dlfb"):
        pieces.read_manifest(tmp_path)
    # But not where it has been tampered with.
    file = tmp_path / pieces.MANIFEST
    file.write_bytes(file.read_bytes().replace(b"another", b"a nother"))
    with pytest.raises(pieces.Damaged):
        pieces.read_manifest(tmp_path)


def test_sweeping_spares_what_is_listed_and_other_kinds(tmp_path):
    for name in ("a.feather", "b.feather", ".a.feather.1-ab.tmp", "a.damaged", "notes.txt"):
        (tmp_path / name).touch()
    pieces.sweep(tmp_path, ["*.feather", "*.tmp"], keep=["b.feather", "not there"])
    assert names(tmp_path) == ["a.damaged", "b.feather", "notes.txt"]


# --- written in one step


def test_the_file_is_flushed_before_it_is_renamed_and_the_folder_after(tmp_path, monkeypatch):
    done = steps_of_writing(monkeypatch)
    name = pieces.write_piece(tmp_path, "vectors", TABLE)
    pieces.write_manifest(tmp_path, {"pieces": [[name]]})
    assert done == 2 * ["file", "rename", "folder"]


@pytest.mark.parametrize("where", ["fsync", "replace"])
def test_an_error_leaves_the_old_manifest_and_nothing_besides(written, monkeypatch, where):
    before = names(written)

    def fails(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, where, fails)
        for write in (
            lambda: pieces.write_piece(written, "more", TABLE),
            lambda: pieces.write_manifest(written, {"pieces": []}),
        ):
            with pytest.raises(OSError, match="No space left"):
                write()
    assert names(written) == before and pieces.read_manifest(written)["asked"] == {"model": "m"}


def test_an_interruption_while_writing_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt), store.replacing(tmp_path / "x") as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert names(tmp_path) == []


DIES = """
import os, pathlib, signal, sys
from dlfb.utils import store

with store.replacing(pathlib.Path(sys.argv[1])) as file:
    file.write(b"half a manifest")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_killed_before_the_rename_the_old_manifest_stays_and_the_stray_is_swept(written):
    command = [sys.executable, "-c", DIES, str(written / pieces.MANIFEST)]
    assert subprocess.run(command, cwd=ROOT).returncode == -signal.SIGKILL
    assert pieces.read_manifest(written)["asked"] == {"model": "m"}
    strays = [name for name in names(written) if name.endswith(".tmp")]
    assert len(strays) == 1 and strays[0].startswith(f".{pieces.MANIFEST}.")
    pieces.sweep(written, ["*.tmp"])
    assert len(names(written)) == 2
