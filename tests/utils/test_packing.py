"""What is kept comes back as it was."""

import collections
import enum
import json
import typing

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import optax
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from hypothesis.extra import pandas as hpd

from dlfb.utils import packing, store
from dlfb.utils.restore import load, save
from tests.utils.keeping import new_state, one_step, same


class Score(typing.NamedTuple):
    name: str
    values: object


class Small(enum.IntEnum):
    ONE = 1


def around(value, path, like=None):
    """Keep a value in a file and load it again."""
    save(value, path)
    return load(path, like)


NESTED = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple)
    | st.dictionaries(st.integers() | st.text() | st.tuples(st.text()), inner),
    max_leaves=12,
)  # fmt: skip


def through_json(value, like=None):
    tree, arrays = packing.pack(value, like)
    arrays = {name: memoryview(array.tobytes()) for name, array in arrays.items()}
    return packing.unpack(json.loads(json.dumps(tree)), arrays, like)


@given(NESTED)
def test_nested_python_values_come_back(value):
    assert same(through_json(value), value)


@given(
    hnp.arrays(
        hnp.scalar_dtypes() | hnp.unicode_string_dtypes(min_len=1),
        hnp.array_shapes(min_dims=0, min_side=0),
    )
)
def test_any_numpy_array_comes_back(array):
    assert same(through_json(array), array)


TEXT = st.text(max_size=5) | st.none()
DTYPES = ("i8", "i1", "u4", "f4", "f8", "bool", "M8[ns]", "m8[s]", "O")


@st.composite
def tables(draw):
    """Tables of up to six columns of any kinds, some of the same name, in any order."""
    dtypes = draw(st.lists(st.sampled_from(DTYPES), max_size=6))
    columns = [
        hpd.column(f"c{i}", TEXT if dtype == "O" else None, dtype) for i, dtype in enumerate(dtypes)
    ]
    labels = hpd.indexes(dtype=int, max_size=6) | hpd.indexes(elements=TEXT, dtype=object)
    table = draw(hpd.data_frames(columns, index=labels | hpd.range_indexes(max_size=6)))
    for name in table.select_dtypes(object).columns:
        kind = draw(st.sampled_from(["object", "string", "category"]))
        # Texts and missing values, in each way that pandas has of keeping them.
        table[name] = table[name].astype(kind) if kind != "object" else table[name]
    table.columns = draw(st.permutations([f"GO:{i % 3}" for i in range(len(columns))]))
    return table


@settings(max_examples=80)
@given(tables())
def test_any_table_comes_back(table):
    assert same(through_json(table), table)


ARRAYS = {
    "empty": np.zeros((0, 3), np.float32),
    "scalar": np.float32(0.1),
    "double scalar": np.float64(0.1),
    "text scalar": np.str_("MALWM"),
    "bool scalar": np.bool_(True),
    "columns first": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "strided": np.arange(12)[::-3],
    "big endian": np.arange(3, dtype=">i4"),
    "bfloat16": np.arange(3).astype(ml_dtypes.bfloat16),
    "objects": np.array(["MAL", None, "日本"], dtype=object),
    "mixed objects": np.array([1, "a", 2.5, (3,)], dtype=object),
    "tuples": np.array([None, None, (3, 4), (5, 6)], dtype=object)[2:],
    "jax": jnp.arange(3.0),
    "jax bfloat16": jnp.ones(3, jnp.bfloat16),
    "jax scalar": jnp.int32(3),
    "jax key": jax.random.key(3),
    "old jax key": jax.random.PRNGKey(3),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_come_back_through_a_file(name, tmp_path):
    value = {"a": ARRAYS[name], "b": [ARRAYS[name]]}
    back = around(value, tmp_path / "x")
    assert same(back, value)
    if isinstance(back["a"], np.ndarray):
        assert back["a"].flags.writeable and back["a"].flags.aligned


def test_64_bit_jax_arrays_come_back_where_64_bits_are_off(tmp_path):
    with jax.enable_x64(True):
        value = jnp.arange(3.0) / 3
    assert value.dtype == np.float64
    assert same(around(value, tmp_path / "x"), value)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64, torch.bool])
@pytest.mark.parametrize("shape", [(2, 3), (), (0, 2)])
def test_torch_tensors_come_back(dtype, shape):
    value = torch.ones(shape).to(dtype)
    back = through_json(value)
    assert back.dtype == dtype and back.shape == shape and torch.equal(back, value)


FRAMES = {
    "the chapter's": pd.DataFrame(
        {"EntryID": ["P1", "P2"], "Length": [5, 7], "GO:1": np.int8([0, 1]), "ME:1": [0.5, 0.1]}
    ),
    "columns out of order": pd.DataFrame(np.eye(3), columns=["c", "a", "b"], index=[2, 0, 1]),
    "numbers as columns": pd.DataFrame({1: [1], "1": [2], 2.5: [3]}),
    "duplicate columns": pd.DataFrame([[1, 2.0]], columns=["a", "a"]),
    "duplicate text columns": pd.DataFrame([["x", "y"]], columns=["a", "a"]),
    "no columns": pd.DataFrame(index=["x", "y"]),
    "no rows": pd.DataFrame({"a": np.zeros(0), "b": pd.array([], dtype="str")}),
    "nothing": pd.DataFrame(),
    "objects": pd.DataFrame({"a": np.array(["x", None, 3, np.nan], object)}),
    "text as objects": pd.DataFrame({"a": pd.Series(["x", "y"], dtype=object)}),
    "missing text": pd.DataFrame({"a": ["x", None]}),
    "string dtype": pd.DataFrame({"a": pd.array(["x", pd.NA], dtype="string")}),
    "python strings": pd.DataFrame({"a": pd.array(["x"], dtype=pd.StringDtype("python"))}),
    "categories": pd.DataFrame({"a": pd.Categorical(["m", None], ["z", "m"], ordered=True)}),
    "nullable": pd.DataFrame(
        {"i": pd.array([1, None], "Int16"), "b": pd.array([True, None], "boolean")}
    ).assign(f=pd.array([0.5, None], "Float32")),
    "times": pd.DataFrame({"a": pd.to_datetime(["2026-01-01", None])}),
    "many-levelled": pd.DataFrame(
        np.eye(2),
        index=pd.MultiIndex.from_tuples([("a", 1), ("b", 2)], names=["x", None]),
        columns=pd.MultiIndex.from_product([["p", "q"], [0]]),
    ),
    "named": pd.DataFrame({"a": [1]}, index=pd.Index([7.0], name="EntryID")).rename_axis(
        columns="term"
    ),
    "missing among objects": pd.DataFrame({"a": np.array([pd.NA, pd.NaT, "x"], object)}),
    "series of objects": pd.Series(["x", "y"], dtype=object),
    "index of objects": pd.Index(["x", "y"], dtype=object),
    "series": pd.Series([1, 2], index=["a", "b"], name=("x", 1)),
    "text series": pd.Series(["MAL"], name="Sequence"),
    "index": pd.Index(["a", "b"], name="EntryID"),
    "category index": pd.CategoricalIndex(["a", "b"]),
    "range": pd.RangeIndex(3, 9, 2, name="i"),
}


@pytest.mark.parametrize("name", FRAMES)
def test_tables_come_back_through_a_file(name, tmp_path):
    assert same(around(FRAMES[name], tmp_path / "x"), FRAMES[name])


def test_a_frames_attributes_and_order_in_memory_come_back():
    frame = pd.DataFrame(np.asfortranarray(np.random.default_rng(0).random((50, 3))))
    frame.attrs = {"source": "simulated"}
    back = through_json(frame)
    assert back.attrs == frame.attrs
    assert same(back.to_numpy().sum(axis=0), frame.to_numpy().sum(axis=0))


def test_a_wide_frame_keeps_its_columns_in_their_order():
    wide = {"EntryID": ["P1", "P2"]}
    for i in range(300):
        wide[f"GO:{i}"] = np.int8([i % 2, 0])
        wide[f"ME:{i}"] = np.float32([i, 0.5])
    frame = pd.DataFrame(wide)
    assert same(through_json(frame), frame)


def test_a_trained_state_is_restored_into_one_like_it():
    initial = new_state()
    state = one_step(one_step(initial))
    back = through_json(state, like={"other": 1, "state": initial})
    assert back.step == 2 and back.apply_fn is not None
    assert same(jax.tree.leaves(back), jax.tree.leaves(state))
    one_step(back)


def test_of_two_states_each_is_restored_into_its_own():
    adam, other = new_state(), new_state(optimiser=optax.adam, rate=2e-3)
    back = through_json([one_step(other), one_step(adam)], like=[adam, other])
    assert back[0].tx is other.tx and back[1].tx is adam.tx


def test_an_optimisers_state_is_restored_with_its_types():
    opt_state = new_state().opt_state
    back = through_json(opt_state, like=[new_state()])
    assert jax.tree.structure(back) == jax.tree.structure(opt_state)


def test_a_state_without_one_like_it_is_refused():
    with pytest.raises(packing.NotKeepable, match="pass the initial state as an argument"):
        packing.pack(new_state(), like=[new_state(width=5)])
    with pytest.raises(packing.Unfit, match="TrainState"):
        through_json_without_check(new_state(), like=[new_state(width=4, inputs=3).params])


def through_json_without_check(value, like):
    tree, arrays = packing.pack(value)
    arrays = {name: memoryview(array.tobytes()) for name, array in arrays.items()}
    return packing.unpack(tree, arrays, like)


def test_a_named_tuple_is_restored_into_one_like_it_or_refused():
    value, other = Score("fmax", (1, 2)), Score("smin", (0, 0))
    assert same(through_json([value], like={"a": other}), [value])
    with pytest.raises(packing.NotKeepable, match="Score, and no argument is one of the same"):
        packing.pack(value, like=[("fmax", (1, 2))])


def test_dict_subclasses_are_restored_or_refused_but_never_changed():
    value = collections.OrderedDict(b=1, a=2)
    assert same(through_json(value), value)
    with pytest.raises(packing.NotKeepable, match=r"result\['train'\] is a collections.default"):
        packing.pack({"train": collections.defaultdict(list)})


@pytest.mark.parametrize(
    "value",
    [
        object(),
        b"MALWM",
        1j,
        Small.ONE,
        lambda: 1,
        np.array([object()]),
        np.ma.masked_array([1], [True]),
        np.zeros(2, [("a", int)]),
        pd.DataFrame({"a": pd.to_datetime(["2026-01-01"]).tz_localize("UTC")}),
        pd.DataFrame({"a": pd.period_range("2026", periods=1, freq="Y")}),
        pd.date_range("2026", periods=3, freq="D"),
        pd.Timestamp("2026"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_cannot_come_back_exactly_is_refused(value):
    with pytest.raises(packing.NotKeepable, match="result"):
        packing.pack(value)


def test_any_tool_can_open_the_file(tmp_path):
    from safetensors import safe_open

    value = {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3), "t": np.array(["2026"], "M8")}
    path = save(value, tmp_path / "x")
    assert path.name == "x" + store.SUFFIX
    with safe_open(path, "np") as file:
        assert same(file.get_tensor("result['kernel']"), value["kernel"])
        assert file.metadata()["dlfb_format"] == str(store.FORMAT)
