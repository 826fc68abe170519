"""Killed, raced, flipped, cut, full: the store holds the old result or the new one, whole."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from dlfb.utils import store
from dlfb.utils.restore import restorable
from tests.utils.keeping import load, save

ROOT = Path(__file__).parents[2]
RUNS = []
TORTURES = {
    "killed_at_random_instants": "200 kills",
    "killed_at_every_line": "lines:",
    "computed_once": "2 and 8 processes computed once",
    "a_dead_holder_frees_the_lock_and_a_living_one_is_waited_for": "Waiting for another process",
    "full_disk": "",
    "read_only_folder": "",
}


@pytest.mark.parametrize("name", TORTURES)
def test_torture_in_a_process_of_its_own(name, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "tests.utils.torture", name, str(tmp_path)],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert TORTURES[name] in done.stdout


def slow(n):
    RUNS.append(n)
    return {"n": n, "table": np.arange(20) * n, "text": "MALWM"}


def test_eight_threads_compute_once(tmp_path):
    RUNS.clear()
    with ThreadPoolExecutor(8) as threads:
        asked = threads.map(lambda _: restorable(slow)(2, store_path=tmp_path / "x"), range(8))
        results = list(asked)
    assert RUNS == [2] and all(r["table"][1] == 2 for r in results)


def test_any_flipped_byte_and_any_cut_is_noticed(tmp_path):
    path = save(slow(3), tmp_path / "x")
    whole = path.read_bytes()
    damaged = [whole[:i] for i in range(len(whole))] + [whole + b"\0"]
    for i in range(len(whole)):
        flip = (1, 0x20, 0xFF)[i % 3]  # A bit, a letter's case, all.
        damaged.append(whole[:i] + bytes([whole[i] ^ flip]) + whole[i + 1 :])
    for data in damaged:
        path.write_bytes(data)
        with pytest.raises(store.Damaged):
            store.read(path)
    path.write_bytes(whole)
    assert load(path)["n"] == 3


def test_a_damaged_store_is_set_aside_named_and_computed_anew(tmp_path, capsys):
    path = tmp_path / "mlp.dlfb"
    for n in (1, 2):
        first = restorable(slow)(3, store_path=path)
        cut = path.read_bytes()[:-n]
        path.write_bytes(cut)
        again = restorable(slow)(3, store_path=path)
        assert (again["table"] == first["table"]).all()
        line = capsys.readouterr().out
        assert line.count("\n") == 1 and f"The result at {path} can't be used" in line
        assert "set aside as mlp.dlfb.damaged, and slow() is run." in line
        assert (tmp_path / "mlp.dlfb.damaged").read_bytes() == cut


def test_where_files_cannot_be_locked_it_is_kept_all_the_same(tmp_path, monkeypatch):
    import filelock

    def refuses(*_, **__):
        raise NotImplementedError

    monkeypatch.setattr(filelock.FileLock, "acquire", refuses)
    restorable(slow)(1, store_path=tmp_path / "x")
    assert load(tmp_path / "x")["n"] == 1
