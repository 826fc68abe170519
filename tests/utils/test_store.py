"""What is kept comes back as it was; and no file runs code or takes more memory than it holds."""

import json
import os
import sys
import tracemalloc

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from dlfb.utils import store
from dlfb.utils.restore import kept
from tests.utils.keeping import load, new_state, one_step, same, save

NESTED = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple)
    | st.dictionaries(st.integers() | st.text() | st.tuples(st.text()), inner),
    max_leaves=12,
)  # fmt: skip
FRAME = pd.DataFrame({"EntryID": ["P1", None], "GO:1": np.int8([0, 1]), "ME:1": [0.5, np.nan]})
KEPT = {
    "empty": np.zeros((0, 10**10), np.float32),
    "scalar": np.float32(0.1),
    "without dimension": np.array(3),
    "columns first": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "jax": jnp.arange(3.0),
    "jax half": jnp.ones(3, jnp.bfloat16),
    "jax scalar": jnp.int32(3),
    "frame": FRAME,
    "labelled frame": FRAME.set_index("EntryID").rename_axis(columns="term"),
    "categories": pd.DataFrame({"a": pd.Categorical(["m", None], ["z", "m"], ordered=True)}),
    "no rows": FRAME[:0],
}


@given(NESTED)
def test_nested_python_values_come_back(value):
    tree = json.loads(json.dumps(store._pack(value, {}, [])))
    assert same(store.Record(None, tree, {}).value(), value)


@pytest.mark.parametrize("name", KEPT)
def test_arrays_and_tables_come_back(name, tmp_path):
    value = {"a": KEPT[name], "b": [KEPT[name]]}
    save(value, tmp_path / "x")
    back = load(tmp_path / "x")
    assert same(back, value)
    if isinstance(back["a"], np.ndarray):
        assert back["a"].flags.writeable


def test_torch_tensors_come_back_and_any_tool_can_open_the_file(tmp_path):
    path = save({"kernel": torch.arange(6)}, tmp_path / "x")
    assert torch.equal(load(path)["kernel"], torch.arange(6))
    assert path.name == "x.dlfb" and same(load_file(path), {"0": np.arange(6)})


def test_of_two_states_each_is_restored_into_its_own(tmp_path):
    like = {"a": new_state(), "b": [new_state(rate=2e-3)]}
    value = [one_step(like["b"][0]), one_step(like["a"])]
    store.write(tmp_path / "x", value, like=like)
    back = store.read(tmp_path / "x").value(like)
    assert same(value, back)
    assert back[0].tx is like["b"][0].tx and back[1].tx is like["a"].tx
    with pytest.raises(store.Damaged, match="TrainState, and none of that form was passed"):
        store.read(tmp_path / "x").value([new_state(width=5)])


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ({"a": [object()]}, r"the result\['a'\]\[0\] is a object"),
        (b"MALWM", "bytes"),
        (np.array(["a"]), "ndarray of <U1"),
        (np.ma.masked_array([1], [True]), "MaskedArray"),
        (torch.ones(2, dtype=torch.bfloat16), "BFloat16"),
        (new_state(), "TrainState, which can't be kept.* one that was passed"),
        (pd.DataFrame({"a": [9606, "unknown", None]}), "column a"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "Duplicate column"),
        (pd.DataFrame({1: [1], "b": [2]}), "mixed type"),
    ],
)
def test_what_cannot_come_back_is_refused(value, named, tmp_path):
    with pytest.raises(TypeError, match=named):
        store.write(tmp_path / "x", value)
    assert list(tmp_path.iterdir()) == []


# --- files that others made


def crafted(path, tree, arrays=(), key=None, **about):
    """Write a file whose checksum agrees."""
    arrays = {str(i): np.asarray(array) for i, array in enumerate(arrays)}
    header = json.dumps({"tree": tree, "key": key})
    about = {"dlfb": header, "sha256": store._checksum(header, arrays)} | about
    save_file(arrays, path, about)


def stream(table, **options):
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as to:
        to.write_table(table)
    return np.frombuffer(sink.getvalue(), np.uint8)


def views():
    """Return a table whose cells are all the same megabyte."""
    text, n = pa.py_buffer(b"x" * 10**6), 3000
    view = np.array([10**6, int.from_bytes(b"xxxx", "little"), 0, 0], np.int32)
    cells = [None, pa.py_buffer(np.tile(view, n)), text]
    return pa.table({"a": pa.Array.from_buffers(pa.string_view(), n, cells)})


def nested(kind):
    """Return a table of one row that holds ten million cells of no bytes."""
    n = 10**7
    cells, ends = pa.nulls(n), pa.array([0, n], pa.int32())
    if kind == "struct":
        cells = pa.Array.from_buffers(pa.struct([]), n, [None])
    if kind == "fixed size":
        return pa.table({"a": pa.FixedSizeListArray.from_arrays(cells, n)})
    if kind == "dictionary":
        return pa.table({"a": pa.DictionaryArray.from_arrays(pa.array([0], pa.int8()), cells)})
    return pa.table({"a": pa.ListArray.from_arrays(ends, cells)})


MEGABYTE = np.zeros(10**6, np.uint8)
CRAFTED = {
    "a class to call": ({"state": ["os.system", 0, [1]]}, []),
    "a library to import": ({"marker_module": "0"}, [1]),
    "a module's function": ({"torch.load": "0"}, [1]),
    "an array that is not there": ({"numpy": "../../outside"}, [1]),
    "one array, named 3,000 times": ([{"jax": "0"}] * 3000, [MEGABYTE]),
    "an unknown kind": ({"kind": ["dict"]}, []),
    "two kinds at once": ({"numpy": "0", "jax": "0"}, [1]),
    "a key that can't be one": ({"dict": [[[1], 2]]}, []),
    "a depth without end": (json.loads('{"tuple":[' * 400 + "]}" * 400), []),
    "no table": ({"frame": "0"}, [MEGABYTE]),
    "a compressed table": (
        {"frame": "0"}, [stream(pa.table({"a": np.zeros(10**8, np.int8)}), compression="zstd")],
    ),
    "a compressed dictionary": (
        {"frame": "0"},
        [stream(pa.table({"a": pa.array(["x" * 10**6]).dictionary_encode()}), compression="lz4")],
    ),
    "a table of nothing": ({"frame": "0"}, [stream(pa.table({"a": pa.nulls(10**9)}))]),
    "a table of views": ({"frame": "0"}, [stream(views())]),
} | {
    f"a table of nested {kind}": ({"frame": "0"}, [stream(nested(kind))])
    for kind in ("list", "struct", "fixed size", "dictionary")
}  # fmt: skip


@pytest.mark.parametrize("name", CRAFTED)
def test_a_crafted_file_runs_no_code_and_takes_no_memory(name, tmp_path, monkeypatch, capsys):
    (tmp_path / "marker_module.py").write_text("open('imported', 'w')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    called = []
    monkeypatch.setattr(os, "system", called.append)
    path = tmp_path / "models" / "x.dlfb"
    path.parent.mkdir()
    key = {"function": "f()"}
    crafted(path, *CRAFTED[name], key=key)
    tracemalloc.start()
    before = pa.default_memory_pool().max_memory()
    # What is compressed is refused for that, before it has been given the memory.
    why = "a compressed table" if "compressed" in name else None
    with pytest.raises(store.Damaged, match=why):
        load(path)
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()
    assert pa.default_memory_pool().max_memory() - before < 20e6
    assert kept(path, key, lambda: 1) == 1
    assert "set aside as x.dlfb.damaged" in capsys.readouterr().out
    assert sorted(os.listdir(path.parent)) == [".x.dlfb.lock", "x.dlfb", "x.dlfb.damaged"]
    assert sorted(set(os.listdir()) - {"__pycache__"}) == ["marker_module.py", "models"]
    assert called == [] and "marker_module" not in sys.modules


HEADERS = ["{}", "[", "[" * 10**5, "[1]", '{"key": null, "tree": ' + "1" * 5000 + "}"]


@pytest.mark.parametrize("header", HEADERS)
def test_a_header_that_does_not_hold_together_is_damaged(header, tmp_path):
    crafted(tmp_path / "x", 1, dlfb=header, sha256=store._checksum(header, {}))
    with pytest.raises(store.Damaged):
        store.read(tmp_path / "x")


@pytest.mark.parametrize("shape", ["[10000000000]", "[10000000000,0,1]", "[-1]", "[1e3]", "[1,1]"])
@pytest.mark.parametrize("dtype", ["S0", "U0", "|V0", "U8", "F32", "F8_E4M3"])
def test_an_array_that_claims_more_than_there_is_is_damaged(shape, dtype, tmp_path):
    crafted(tmp_path / "x", {"numpy": "0"}, [np.zeros(1, np.uint8)])
    data = (tmp_path / "x").read_bytes()
    size = 8 + int.from_bytes(data[:8], "little")
    head = data[8:size].replace(b'"U8"', f'"{dtype}"'.encode()).replace(b"[1]", shape.encode())
    (tmp_path / "x").write_bytes(len(head).to_bytes(8, "little") + head + data[size:])
    with pytest.raises(store.Damaged):
        store.read(tmp_path / "x")
