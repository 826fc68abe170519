"""Equal content, equal fingerprint; any change of content, another."""

import collections
import dataclasses
import enum
import functools
import importlib.util
import itertools
import json
import os
import random
import subprocess
import sys
import types
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
import pytest
import torch

from dlfb.utils.fingerprint import digest, fingerprint
from tests.utils.keeping import Network, new_state, one_step

ROOT = Path(__file__).parents[2]


@dataclasses.dataclass
class Setting:
    rate: float
    name: str = "a"


class Dataset:
    def __init__(self, rows):
        self.rows, self.opened = rows, object()

    def __fingerprint__(self):
        return self.rows


class Layer(torch.nn.Module):
    def __init__(self, scale=1.0, dropout=0.1, weight=0.5, stride=1):
        super().__init__()
        self.scale = scale
        self.dropout = torch.nn.Dropout(dropout)
        self.convolution = torch.nn.Conv1d(1, 1, 1, stride=stride, bias=False)
        torch.nn.init.constant_(self.convolution.weight, weight)


def configured(**settings):
    layer = Layer()
    layer.config = types.SimpleNamespace(to_dict=lambda: settings)
    return layer


def closed_over(value):
    return lambda x: x + value


def typed(source: str):
    """Return the function f of a notebook with this source text."""
    notebook = types.ModuleType("__main__")
    exec(compile(source, "<cell>", "exec"), notebook.__dict__)
    return notebook.f


def tokenizer(extra=(), mask="<mask>", used=False):
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    words = ["<unk>", "<mask>", "<eos>", "A", "C", *extra]
    rules = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    made = PreTrainedTokenizerFast(tokenizer_object=rules, unk_token="<unk>", mask_token=mask)
    if used:
        made.pad_token = None
        made(["A C"], truncation=True, max_length=1)
    return made


Color, Other = enum.Enum("Color", "RED BLUE"), enum.Enum("Other", "RED")
FRAME = pd.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"]}, index=[3, 4])
# Each line: a kind, and values that differ from one another.
DIFFERENT = {
    "number": [1, 1.0, True, "1", b"1", None, 1j, np.int64(1), np.float64(1), np.bool_(True)],
    "zero": [0.0, -0.0, float("nan")],
    "nesting": [[1, [2]], [[1], 2], [1, 2], (1, 2), [2, 1], [], (), {}, set()],
    "dict": [{"a": 1}, {"a": 2}, {"b": 1}, {"a": 1, "b": 1}, collections.Counter("a")],
    "numpy": [
        np.arange(4.0), np.arange(4.0).reshape(2, 2), np.arange(4), np.array([0.0, 1, 2, 4]),
        np.arange(4.0).astype(">f8"), np.arange(4.0, dtype="f4"), np.arange(4).astype("M8[s]"),
        np.nextafter(np.arange(4.0), 9), np.array(["a", None], object),
    ],
    "library": [np.float32([1, 2]), jnp.float32([1, 2]), torch.tensor([1.0, 2]), [1.0, 2.0]],
    "jax": [jnp.arange(3), jnp.arange(3.0), jax.random.key(1), jax.random.key(2)],
    "torch": [torch.ones(2), torch.ones(2, dtype=torch.bfloat16), torch.ones(1, 2)],
    "frame": [
        FRAME, FRAME[["b", "a"]], FRAME.rename(columns={"a": "c"}), FRAME.iloc[::-1],
        FRAME.reset_index(drop=True), FRAME.astype({"a": "f4"}), FRAME.astype({"b": object}),
        FRAME.assign(a=[1.0, 3.0]), FRAME.assign(b=["x", "z"]), FRAME.rename_axis("i"),
        FRAME.astype({"b": "category"}), FRAME["a"], FRAME["b"], FRAME.index, FRAME[["a"]],
        FRAME.assign(a=pd.array([1, None], "Int8")), FRAME.assign(a=pd.cut(FRAME["a"], 2)),
    ],
    "path": [Path("a/b"), Path("a/c"), "a/b"],
    "dataclass": [Setting(0.1), Setting(0.2), Setting(0.1, "b")],
    "own": [Dataset([1]), Dataset([2]), [1]],
    "closure": [closed_over(1), closed_over(2), closed_over(1.0)],
    "default": [lambda x=1: x, lambda x=2: x, lambda *, x=1: x, lambda x=Dataset: x],
    "partial": [functools.partial(max, 1), functools.partial(max, 2), functools.partial(min, 1)],
    "function": [len, max, np.exp, np.sin, np.mean, jax.nn.gelu, jax.nn.relu, Setting, Dataset],
    "method": [Setting(0.1).__init__, Setting(0.2).__init__, [1].count, [2].count],
    "jitted": [jax.jit(closed_over(1)), jax.jit(closed_over(2)), closed_over(1)],
    "optimiser": [
        optax.adam(1e-3), optax.adam(2e-3), optax.adam(1e-3, b2=0.998), optax.sgd(1e-3),
    ],
    "flax module": [Network(4), Network(5)],
    "state": [new_state(), new_state(seed=1), new_state(rate=2e-3), one_step(new_state())],
    "torch module": [
        Layer(), Layer(weight=0.5 + 1e-7), Layer(scale=2.0), Layer(dropout=0.2), Layer().eval(),
        Layer(stride=2), configured(width=1), configured(width=2),
    ],
    "tokenizer": [tokenizer(), tokenizer(["D"]), tokenizer(mask="<eos>")],
    "constants": [np.float32, jnp.float32, *Color, *Other],
}  # fmt: skip
# Each line: ways to come by the same content.
EQUAL = {
    "dict order": [{"a": 1, "b": 2}, {"b": 2, "a": 1}],
    "set order": [set("MALWM"), set(reversed("MALWM"))],
    "memory order": [np.eye(3)[:2], np.asfortranarray(np.eye(3)[:2]), np.eye(6)[:4:2, :6:2]],
    "frame layout": [
        pd.DataFrame(np.eye(2), columns=["a", "b"]),
        pd.DataFrame({"b": [0.0, 1.0], "a": [1.0, 0.0]})[["a", "b"]],
    ],
    "closure": [closed_over(1), closed_over(1)],
    "optimiser": [optax.adam(1e-3), optax.adam(1e-3)],
    "state": [new_state(), new_state()],
    "torch module": [Layer(), Layer()],
    "torch layout": [torch.eye(3)[:, :2], torch.eye(3)[:, :2].contiguous()],
    "where a model was": [configured(_name_or_path="a"), configured(_name_or_path="b")],
    "how a tokenizer was used last": [tokenizer(), tokenizer(used=True)],
    "place in a notebook": [typed("def f(): pass"), typed("\n\ndef f():\n  # As it is.\n  pass")],
}


@pytest.mark.parametrize("kind", DIFFERENT)
def test_any_change_is_noticed(kind):
    prints = [fingerprint(value) for value in DIFFERENT[kind]]
    assert len(set(prints)) == len(prints)


@pytest.mark.parametrize("kind", EQUAL)
def test_equal_content_has_equal_fingerprints(kind):
    assert len({fingerprint(value) for value in EQUAL[kind]}) == 1


def test_the_place_where_one_text_ends_counts():
    assert len({digest("ab", "c"), digest("a", "bc"), digest("abc"), digest("abc", "")}) == 4


# What a notebook defines, with a number that changes; its function f uses g.
IN_A_NOTEBOOK = {
    "its own code": "def f(x): return x + {}",
    "a helper": "def g(x): return x + {}",
    "the default of a helper": "def g(x, y={}): return x",
    "a partial": "import functools\ndef k(x, n): return n\ng = functools.partial(k, n={})",
    "a decorator": """
import functools
def by(n):
  def decorate(f):
    @functools.wraps(f)
    def w(*a): return f(*a) * n
    return w
  return decorate
@by({})
def g(x): return x""",
    "a method": "class g:\n  def m(self, x): return x + {}",
    "a value of a class": "class g:\n  lock = object()\n  r = [1, {}]",
    "a cached property": "import functools\nclass g:\n  @functools.cached_property\n"
    "  def p(s): return {}",
    "a base": "class h:\n  def m(self): return {}\nclass g(h):\n  def m(self): super().m()",
    "a field": "import dataclasses\n@dataclasses.dataclass\nclass g:\n  a{}: int",
    "the default of a field": "import dataclasses\n@dataclasses.dataclass\nclass g:\n"
    "  a: list = dataclasses.field(default_factory=lambda: [{}])",
    "a flax module": "import flax.linen as nn\nclass g(nn.Module):\n  @nn.compact\n"
    "  def __call__(self, x): return x + {}",
}


def in_a_notebook(what, number):
    return typed("def f(x): return g(x)\n" + IN_A_NOTEBOOK[what].format(number))


@pytest.mark.parametrize("what", IN_A_NOTEBOOK)
def test_what_a_function_of_a_notebook_uses_is_followed(what):
    one, again, other = (fingerprint(in_a_notebook(what, number)) for number in (1, 1, 2))
    assert one == again != other


HELPED = "def g(x{}): return x {} 1\n\ndef f(x): return g(x)"
METHOD = "class A:\n    def g(self, x): return x {} 1\n\ndef f(x): return A().g(x)"


@pytest.mark.parametrize(
    "edited",
    [
        HELPED.format("", "-"), HELPED.format("=2", "+"), METHOD.format("+"),
        "SCALE = 2\n" + HELPED.format("", "+"), HELPED.format("", "+") + "  # a comment",
    ],
)  # fmt: skip
def test_any_edit_of_a_function_s_file_is_noticed(edited, tmp_path, monkeypatch):
    def of(text, function="f"):
        file.write_text(text)
        os.utime(file, ns=(next(times), next(times)))  # written within a tick of the clock
        spec = importlib.util.spec_from_file_location("a_module", file)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, "a_module", module)
        spec.loader.exec_module(module)
        return fingerprint(getattr(module, function))

    file, times = tmp_path / "a_module.py", itertools.count(10**18, 10**9)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    first = of(HELPED.format("", "+"))
    assert of(HELPED.format("", "+")) == first != of(edited)
    if "class A" in edited:
        assert of(METHOD.format("+"), "A") != of(METHOD.format("-"), "A")


def test_circles_end():
    items = [1]
    items.append(items)

    def recursive(n):
        return n and recursive(n - 1)

    assert fingerprint(items) != fingerprint([1, 1])
    assert fingerprint(recursive) == fingerprint(recursive)


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ({"train": [object()]}, r"the value\['train'\]\[0\] is a builtins.object"),
        (Setting(object()), r"the value.rate is a builtins.object"),
        (closed_over(object()), "in closed_over.<locals>.<lambda>.*the variable value is a"),
        (random.Random(1), "random.Random.*give Random a method __fingerprint__"),
        ([np.random.default_rng(1)], r"the value\[0\] is a numpy.random._generator.Generator"),
        (FRAME.assign(a=[object(), 1]), "builtins.object"),
    ],
)
def test_what_has_no_fingerprint_is_named(value, named):
    with pytest.raises(TypeError, match=named):
        fingerprint(value)


def several() -> list[str]:
    """Return fingerprints of many kinds; the sets in them depend on the hash seed."""
    kinds = ["dict", "nesting", "frame", "default", "closure", "state", "torch module"]
    values = [value for kind in kinds for value in DIFFERENT[kind]]
    values += [typed("def f(x): return x in {'M', 'A', 'L'}"), set("MALW")]
    values += [in_a_notebook(what, 1) for what in IN_A_NOTEBOOK]
    return [fingerprint(value) for value in values]


def test_other_processes_and_hash_seeds_agree():
    code = (
        "import json; from tests.utils import test_fingerprint as t; print(json.dumps(t.several()))"
    )
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    outs = [
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code],
            cwd=ROOT, env=env | {"PYTHONHASHSEED": seed}, capture_output=True, check=True,
        ).stdout
        for seed in ("1", "7")
    ]  # fmt: skip
    assert len(set(outs)) == 1 and len(json.loads(outs[0])) > 40
