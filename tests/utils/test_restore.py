"""The contract of ``restorable``: what is restored, what is computed anew, and what is said."""

import functools
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import filelock
import jax
import numpy as np
import pytest

from dlfb.utils import store
from dlfb.utils.restore import kept, restorable
from tests.utils.keeping import load, new_state, one_step, same, save

ROOT = Path(__file__).parents[2]
CALLS = []


def slow(x, scale=2.0, *rest, name="a", **more):
    """Scale x, slowly."""
    CALLS.append(name)
    return {"x": np.asarray(x) * scale, "name": name}


def train(state, dataset_splits, batch_size=32, num_steps=2):
    CALLS.append("train")
    for _ in range(num_steps):
        state = one_step(state)
    return state, {"train": [{"loss": np.float32(0.5)}], "valid": [{"loss": float("nan")}]}


@pytest.fixture(autouse=True)
def _counted():
    CALLS.clear()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "models" / "mlp"


def files(path):
    """Return the names of what lies beside a result, except its lock."""
    return sorted(p.name for p in path.parent.iterdir() if not p.name.endswith(".lock"))


def test_the_same_is_computed_once_and_restored_bit_for_bit(path, capsys):
    first = restorable(slow)([0.1, 0.2], store_path=path)
    again = restorable(slow)([0.1, 0.2], 2.0, name="a", store_path=str(path))
    assert same(first, again) and len(CALLS) == 1
    assert files(path) == ["mlp.dlfb"]
    assert same(restorable(slow)([0.1, 0.2], store_path=f"{path}.dlfb", force=True), first)
    assert len(CALLS) == 2 and files(path) == ["mlp.dlfb"]
    assert capsys.readouterr() == ("", "")


def test_a_trained_state_comes_back_with_its_metrics(path, capsys):
    splits = {"train": np.eye(3)}
    state, metrics = restorable(train)(new_state(), splits, store_path=path)
    again, metrics_again = restorable(train)(new_state(), splits, store_path=path)
    assert len(CALLS) == 1
    assert same(state, again) and same(metrics, metrics_again)
    one_step(again)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"state": new_state(seed=1)}, "the argument 'state'"),
        ({"state": new_state(rate=1e-2)}, "the argument 'state'"),
        ({"dataset_splits": {"train": np.eye(3) * 2}}, "the argument 'dataset_splits'"),
        ({"batch_size": 16, "num_steps": 3}, "the argument 'batch_size', the argument 'num_steps'"),
    ],
)
def test_a_changed_argument_is_named_and_computed_anew(change, named, path, capsys):
    asked = {"state": new_state(), "dataset_splits": {"train": np.eye(3)}}
    restorable(train)(**asked, store_path=path)
    restorable(train)(**asked | change, store_path=path)
    line = f"train() is computed anew: {named} changed since the result in mlp.dlfb was kept.\n"
    assert len(CALLS) == 2 and capsys.readouterr().out == line
    restorable(train)(**asked | change, store_path=path)
    assert len(CALLS) == 2 and files(path) == ["mlp.dlfb"]


def test_a_changed_function_is_noticed(path, capsys):
    def made(step, default=None):
        def f(x, y=default):
            return x + step

        return f

    assert restorable(made(1))(1, store_path=path) == 2
    assert restorable(made(2, "other"))(1, store_path=path) == 3
    said = "f() is computed anew: the function's code, the argument 'y' changed"
    assert said in capsys.readouterr().out
    assert restorable(made(2), version=1)(1, store_path=path) == 3
    # With a version, that is what counts, and the code does not.
    assert restorable(made(1), version=1)(1, store_path=path) == 3
    assert restorable(made(1), version=2)(1, store_path=path) == 2
    assert "the function's version changed" in capsys.readouterr().out


def test_another_functions_result_is_not_taken(path, capsys):
    restorable(slow)(1, store_path=path)
    for _ in range(2):
        restorable(train)(new_state(), None, store_path=path)
        assert "the result kept in mlp.dlfb is one of slow()." in capsys.readouterr().out
        restorable(slow)(1, store_path=path)
        assert "the result kept in mlp.dlfb is one of train()." in capsys.readouterr().out
    assert CALLS == ["a", "train", "a", "train", "a"]


def test_as_a_decorator_it_keeps_name_and_documentation(path):
    @restorable
    def f(a, *, b=1, **more):
        """Do something."""
        return a + b

    assert (f.__name__, f.__doc__) == ("f", "Do something.")
    assert f(1, store_path=path) == f(1, b=1, store_path=path) == 2
    assert f.__wrapped__(1) == 2


def test_partials_and_jitted_functions_can_be_kept(path, tmp_path, capsys):
    partial = restorable(functools.partial(slow, name="b"))
    assert same(partial([1.0], store_path=path), partial([1.0], store_path=path))
    assert CALLS == ["b"] and store.read(store.store_file(path)).key["function"] == "slow()"
    jitted = restorable(jax.jit(lambda x: x + 1))
    assert same(jitted(1.0, store_path=tmp_path / "y"), jitted(1.0, store_path=tmp_path / "y"))
    assert capsys.readouterr().out == ""


def test_an_argument_without_a_fingerprint_is_named(path):
    with pytest.raises(TypeError, match=r"slow\(\): the argument 'x'\['a'\] is a builtins.object"):
        restorable(slow)({"a": object()}, store_path=path)
    with pytest.raises(TypeError, match="missing a required argument: 'x'"):
        restorable(slow)(store_path=path)
    assert CALLS == []


def test_an_argument_that_the_function_changes_counts_as_it_was_given(path):
    def emptied(items):
        CALLS.append("emptied")
        return [items.pop() for _ in range(len(items))]

    for _ in range(2):
        assert restorable(emptied)([1, 2, 3], store_path=path) == [3, 2, 1]
    assert CALLS == ["emptied"]


def test_what_cannot_be_kept_is_returned_with_a_warning_or_is_an_error(path):
    def opened():
        return {"file": sys.stdout}

    with pytest.warns(UserWarning, match=r"opened\(\): the result could not be kept.*'file'"):
        assert restorable(opened)(store_path=path) == {"file": sys.stdout}
    with pytest.raises(OSError, match=r"opened\(\): the result could not be kept at .*'file'"):
        kept(path, {"function": "opened()"}, opened, must=True)
    assert files(path) == []


def test_a_kept_function_may_call_another_kept_at_the_same_path(path):
    def inner():
        return 1

    def outer():
        return 1 + restorable(inner)(store_path=path)

    assert restorable(outer)(store_path=path) == 2


def test_a_folder_in_the_results_place_is_left_alone(path, capsys):
    store.store_file(path).mkdir(parents=True)
    with pytest.warns(UserWarning, match="could not be kept") as said:
        assert restorable(slow)(1, store_path=path)["x"] == 2
    assert said[0].filename == __file__  # the line that asked
    assert "could not be read" in capsys.readouterr().out
    assert files(path) == ["mlp.dlfb"]


def test_a_damaged_file_that_cannot_be_renamed_is_replaced(path, capsys, monkeypatch):
    def refuses(*_):
        raise PermissionError("no")

    path.parent.mkdir()
    store.store_file(path).write_bytes(b"nothing")
    with monkeypatch.context() as patch, pytest.warns(UserWarning, match="could not be kept"):
        patch.setattr(os, "replace", refuses)
        assert restorable(slow)(1, store_path=path)["x"] == 2
    assert "It could not be set aside (no), and slow() is run." in capsys.readouterr().out
    for _ in range(2):
        assert restorable(slow)(1, store_path=path)["x"] == 2
    assert len(CALLS) == 2


# Killed, raced, flipped, cut, full: the store holds the old result or the new one, whole

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


def test_eight_threads_compute_once(path):
    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(lambda _: restorable(slow)(2, store_path=path), range(8)))
    assert len(CALLS) == 1 and all(result["x"] == 4 for result in results)


def test_any_flipped_byte_and_any_cut_is_noticed(path):
    file = save(slow(range(20)), path)
    whole = file.read_bytes()
    damaged = [whole[:i] for i in range(len(whole))] + [whole + b"\0"]
    for i in range(len(whole)):
        flip = (1, 0x20, 0xFF)[i % 3]  # a bit, a letter's case, all
        damaged.append(whole[:i] + bytes([whole[i] ^ flip]) + whole[i + 1 :])
    for data in damaged:
        file.write_bytes(data)
        with pytest.raises(store.Damaged):
            store.read(file)
    file.write_bytes(whole)
    assert load(path)["x"][1] == 2


def test_a_damaged_store_is_set_aside_named_and_computed_anew(path, capsys):
    file, aside = store.store_file(path), path.with_name("mlp.dlfb.damaged")
    for n in (1, 2):  # the later one replaces the earlier
        restorable(slow)(3, store_path=path)
        cut = file.read_bytes()[:-n]
        file.write_bytes(cut)
        assert restorable(slow)(3, store_path=path)["x"] == 6
        line = capsys.readouterr().out
        assert line.count("\n") == 1 and f"The result at {file} can't be used" in line
        assert "set aside as mlp.dlfb.damaged, and slow() is run." in line
        assert aside.read_bytes() == cut


def test_where_files_cannot_be_locked_it_is_kept_all_the_same(path, monkeypatch):
    def refuses(*_, **__):
        raise NotImplementedError

    monkeypatch.setattr(filelock.FileLock, "acquire", refuses)
    restorable(slow)(1, store_path=path)
    assert load(path)["x"] == 2
