"""The contract of ``restorable``: what is restored, what is computed anew, and what is said."""

import functools
import inspect
import os
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import optax
import pandas as pd
import pytest

from dlfb.utils import store
from dlfb.utils.restore import load, restorable, save
from tests.utils.keeping import new_state, one_step, same

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
    """Return the names of what lies beside a result, its lock apart."""
    return sorted(p.name for p in path.parent.iterdir() if not p.name.endswith(".lock"))


def test_the_same_is_computed_once_and_restored_bit_for_bit(path, capsys):
    first = restorable(slow)([0.1, 0.2], store_path=path)
    again = restorable(slow)([0.1, 0.2], 2.0, name="a", store_path=str(path))
    assert same(first, again) and len(CALLS) == 1
    assert files(path) == ["mlp.dlfb"]
    out = capsys.readouterr()
    assert out.out == out.err == ""


def test_without_a_path_the_function_is_just_called(path):
    assert restorable(slow)(1, name=sys)["name"] is sys
    assert not path.parent.exists()


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
        ({"state": new_state(seed=1)}, "'state'"),
        ({"state": new_state(rate=1e-2)}, "'state'"),
        ({"dataset_splits": {"train": np.eye(3) * 2}}, "'dataset_splits'"),
        ({"dataset_splits": {"train": np.eye(3, dtype="f4")}}, "'dataset_splits'"),
        ({"batch_size": 16}, "'batch_size'"),
        ({"num_steps": 3}, "'num_steps'"),
    ],
)
def test_a_changed_argument_is_named_and_computed_anew(change, named, path, capsys):
    asked = {"state": new_state(), "dataset_splits": {"train": np.eye(3)}}
    restorable(train)(**asked, store_path=path)
    restorable(train)(**asked | change, store_path=path)
    lines = capsys.readouterr().out.splitlines()
    assert len(CALLS) == 2 and len(lines) == 1
    assert lines[0] == (
        f"train() is computed anew: the argument {named} changed since the result in mlp.dlfb was "
        "kept."
    )
    restorable(train)(**asked | change, store_path=path)
    assert len(CALLS) == 2 and files(path) == ["mlp.dlfb"]


FRAME = pd.DataFrame({"GO:1": [0, 1], "GO:2": [1, 0], "place": ["in", "out"]})


def one_weight_changed(state):
    params = jax.tree.map(np.array, state.params)
    params["Dense_0"]["kernel"][2, 1] += 1e-6
    return state.replace(params=params)


def torch_model(bias=0.0):
    import torch

    layer = torch.nn.Linear(3, 2)
    torch.nn.init.ones_(layer.weight)
    torch.nn.init.constant_(layer.bias, bias)
    return layer


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (np.arange(6.0), np.nextafter(np.arange(6.0), 9)),
        (np.arange(6), np.arange(6).astype("i4")),
        (np.arange(6), np.arange(6).reshape(2, 3)),
        (FRAME, FRAME[["GO:2", "GO:1", "place"]]),
        (FRAME, FRAME[::-1]),
        (FRAME, FRAME.replace("out", "beside")),
        (FRAME, FRAME.astype({"GO:2": "int8"})),
        (jax.numpy.arange(3), np.arange(3, dtype=jax.numpy.arange(3).dtype)),
        (torch_model(), torch_model(1e-7)),
        (new_state(), one_weight_changed(new_state())),
        (new_state(), new_state(optimiser=optax.sgd)),
        (new_state().tx, optax.adam(1e-3, b2=0.998)),
        (len, max),
        ({"a": [1, {"b": (2, None)}]}, {"a": [1, {"b": (2, 0)}]}),
    ],
)
def test_every_kind_of_argument_is_compared_by_its_content(one, other, path, capsys):
    def ask(about):
        CALLS.append(about)
        return len(CALLS)

    def copied(value):
        return value.copy() if isinstance(value, np.ndarray | pd.DataFrame) else value

    assert restorable(ask)(one, store_path=path) == 1
    assert restorable(ask)(copied(one), store_path=path) == 1
    assert capsys.readouterr().out == ""
    assert restorable(ask)(other, store_path=path) == 2
    assert "the argument 'about' changed" in capsys.readouterr().out
    # Asked as before, it is computed again: one result is kept.
    assert restorable(ask)(one, store_path=path) == 3


def test_several_changes_are_named_in_one_line(path, capsys):
    restorable(slow)(1, store_path=path)
    restorable(slow)(2, 3.0, name="b", extra=1, store_path=path)
    line = capsys.readouterr().out
    for name in ("x", "scale", "name", "more"):
        assert f"the argument '{name}'" in line and line.count("\n") == 1
    restorable(slow)(4, 5.0, name="b", extra=1, store_path=path)
    assert "the argument 'x', the argument 'scale' changed" in capsys.readouterr().out


def test_a_changed_default_is_noticed(path, capsys):
    def make(default):
        def f(x=default):
            return x

        return f

    assert restorable(make(1))(store_path=path) == 1
    assert restorable(make(2))(store_path=path) == 2
    assert "the argument 'x' changed" in capsys.readouterr().out


def test_a_changed_function_is_noticed(path, capsys):
    def first():
        def f(x):
            return x + 1

        return f

    def second():
        def f(x):
            return x + 2

        return f

    for make in (first, second):
        make.__qualname__ = "made"
    one, two = first(), second()
    one.__qualname__ = two.__qualname__ = "f"
    assert restorable(one)(1, store_path=path) == 2
    assert restorable(two)(1, store_path=path) == 3
    assert "f() is computed anew: the function's code changed" in capsys.readouterr().out
    assert restorable(version=1)(two)(1, store_path=path) == 3
    # With a version, that is what counts, and the code does not.
    assert restorable(one, version=1)(1, store_path=path) == 3
    assert restorable(one, version=2)(1, store_path=path) == 2
    assert "the function's version changed" in capsys.readouterr().out


def test_another_functions_result_is_not_taken(path, capsys):
    restorable(slow)(1, store_path=path)
    restorable(train)(new_state(), None, store_path=path)
    assert "is one of" in capsys.readouterr().out and CALLS == ["a", "train"]
    restorable(slow)(1, store_path=path)
    assert "is one of" in capsys.readouterr().out and CALLS == ["a", "train", "a"]


def test_force_computes_anew_and_says_nothing(path, capsys):
    for _ in range(2):
        restorable(slow)(1, store_path=path, force=True)
    assert len(CALLS) == 2 and capsys.readouterr().out == ""


def test_as_a_decorator_it_keeps_the_signature_and_the_documentation(path):
    @restorable
    def f(a, *, b=1, **more):
        """Do something."""
        return a + b

    assert str(inspect.signature(f)) == "(a, *, b=1, store_path=None, force=False, **more)"
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


def test_a_method_counts_its_object(path, capsys):
    class Trainer:
        def __init__(self, rate):
            self.rate = rate

        def __fingerprint__(self):
            return self.rate

        @restorable
        def fit(self, n):
            return self.rate * n

    assert Trainer(2).fit(3, store_path=path) == 6
    assert Trainer(4).fit(3, store_path=path) == 12
    assert "the argument 'self' changed" in capsys.readouterr().out


def test_a_keyword_of_the_same_name_is_refused():
    def f(x, force=1):
        return x

    with pytest.raises(TypeError, match="parameter 'force' of its own"):
        restorable(f)


def test_an_argument_without_a_fingerprint_is_named(path):
    with pytest.raises(TypeError, match=r"slow\(\): the argument 'x'\['a'\] is a builtins.object"):
        restorable(slow)({"a": object()}, store_path=path)
    with pytest.raises(TypeError, match="missing a required argument: 'x'"):
        restorable(slow)(store_path=path)
    assert CALLS == []


def test_an_argument_that_the_function_changes_counts_as_it_was_given(path):
    def shuffle(rng):
        return rng.permutation(5)

    first = restorable(shuffle)(np.random.default_rng(1), store_path=path)
    again = restorable(shuffle)(np.random.default_rng(1), store_path=path)
    assert same(first, again)


def test_a_result_without_a_key_is_taken_with_one_line(path, capsys):
    save({"x": 1}, path)
    assert restorable(slow)(5, store_path=path) == {"x": 1}
    line = capsys.readouterr().out
    assert "has no fingerprint" in line and "not checked" in line and line.count("\n") == 1
    assert CALLS == []


def test_a_provisioned_state_is_taken_where_it_fits_and_set_aside_where_not(path, capsys):
    trained = one_step(new_state())
    save((trained, {"valid": []}), path)
    state, metrics = restorable(train)(new_state(), None, store_path=path)
    assert same(state.params, trained.params) and metrics == {"valid": []} and CALLS == []
    restorable(train)(new_state(width=5), None, store_path=path)
    out = capsys.readouterr().out
    assert "it holds a TrainState, and none of that form" in out
    assert CALLS == ["train"] and files(path) == ["mlp.dlfb", "mlp.dlfb.damaged"]


def test_the_suffix_is_added_unless_it_is_there(tmp_path):
    assert store.store_file(tmp_path / "a" / "mlp") == tmp_path / "a" / "mlp.dlfb"
    assert store.store_file(str(tmp_path / "esm2.v2")) == tmp_path / "esm2.v2.dlfb"
    assert store.store_file(tmp_path / "mlp.dlfb") == tmp_path / "mlp.dlfb"


def test_what_cannot_be_kept_is_returned_with_a_warning(path):
    def opened():
        return {"file": sys.stdout}

    with pytest.warns(UserWarning, match=r"opened\(\): the result is .* not be kept.*'file'"):
        assert restorable(opened)(store_path=path) == {"file": sys.stdout}
    assert files(path) == []


def test_an_error_of_the_function_is_its_own_and_leaves_the_store(path):
    def fails(x):
        if x > 1:
            raise RuntimeError("no")
        return x

    restorable(fails)(1, store_path=path)
    with pytest.raises(RuntimeError, match="no"):
        restorable(fails)(2, store_path=path)
    assert files(path) == ["mlp.dlfb"]
    assert restorable(fails)(1, store_path=path) == 1


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
    assert restorable(slow)(1, store_path=path)["x"] == 2
    assert restorable(slow)(1, store_path=path)["x"] == 2 and len(CALLS) == 2


def test_a_table_of_embeddings_is_kept_as_it_was(path):
    def embed(sequences):
        CALLS.append("embed")
        vectors = np.random.default_rng(0).random((len(sequences), 8), dtype=np.float32)
        return sequences.join(pd.DataFrame(vectors).rename(columns=lambda i: f"ME:{i + 1}"))

    frame = pd.DataFrame({"EntryID": ["P1", "P2"], "Sequence": ["MAL", "WM"]})
    first = restorable(embed)(frame, store_path=path)
    assert same(restorable(embed)(frame.copy(), store_path=path), first) and len(CALLS) == 1
    restorable(embed)(frame[["Sequence", "EntryID"]], store_path=path)
    assert len(CALLS) == 2


def test_importing_it_is_quick_and_brings_in_no_heavy_library():
    code = (
        "import sys, time; import dlfb; start = time.process_time(); import dlfb.utils.restore; "
        "print(time.process_time() - start); "
        "print([m for m in ('torch', 'jax', 'flax', 'numpy', 'pandas') if m in sys.modules])"
    )
    root = Path(__file__).parents[2]
    out = [
        subprocess.run(
            [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
        ).stdout.splitlines()
        for _ in range(3)
    ]
    assert out[0][1] == "[]"
    assert min(float(seconds) for seconds, _ in out) < 0.1


def test_the_chapters_state_is_restored_in_under_half_a_second(path):
    state = new_state(width=512, inputs=640)
    wide = {f"Dense_{i}": np.ones((512, 303), np.float32) for i in range(2)}
    state = state.replace(params=state.params | wide)
    arguments = {"state": state, "dataset_splits": np.ones((100, 943)), "num_steps": 0}
    restorable(train)(**arguments, store_path=path)
    times = []
    for _ in range(3):
        start = time.process_time()
        restorable(train)(**arguments, store_path=path)
        times.append(time.process_time() - start)
    assert len(CALLS) == 1 and min(times) < 0.5


def test_load_names_what_is_missing(path):
    with pytest.raises(FileNotFoundError, match="mlp.dlfb"):
        load(path)
    path.parent.mkdir()
    save(new_state(), path)
    with pytest.raises(ValueError, match="TrainState, and none"):
        load(path)
    assert same(load(path, like=new_state()), new_state())


def test_save_refuses_what_cannot_come_back(path):
    with pytest.raises(TypeError):
        save(object(), path)
