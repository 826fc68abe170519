"""Equal content, equal fingerprint; any change of content, another."""

import dataclasses
import datetime
import functools
import importlib.util
import itertools
import json
import os
import random
import subprocess
import sys
import textwrap
import time
import types
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
import pytest
import torch
from flax.core import FrozenDict

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
    def __init__(self, scale=1.0, dropout=0.1):
        super().__init__()
        self.scale = scale
        self.linear = torch.nn.Linear(2, 2)
        self.dropout = torch.nn.Dropout(dropout)
        torch.nn.init.constant_(self.linear.weight, 0.5)
        torch.nn.init.zeros_(self.linear.bias)

    def forward(self, x):
        return self.dropout(self.linear(x)) * self.scale


class Configured(torch.nn.Module):
    def __init__(self, **settings):
        super().__init__()
        self.config = types.SimpleNamespace(to_dict=lambda: settings)


def convolution(stride):
    layer = torch.nn.Conv1d(1, 1, 1, stride=stride, bias=False)
    torch.nn.init.ones_(layer.weight)
    return layer


def closed_over(value):
    return lambda x: x + value


def compiled(source: str):
    """Return the function f of a module made from source text."""
    module = types.ModuleType("made_up")
    exec(compile(textwrap.dedent(source), "made_up.py", "exec"), module.__dict__)
    return module.f


def changed_weight():
    layer = Layer()
    with torch.no_grad():
        layer.linear.weight[0, 0] += 1e-7
    return layer


def tokenizer(extra=(), mask="<mask>"):
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    words = ["<unk>", "<mask>", "<eos>", "A", "C", *extra]
    rules = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    return PreTrainedTokenizerFast(tokenizer_object=rules, unk_token="<unk>", mask_token=mask)


def used_tokenizer():
    used = tokenizer()
    used.pad_token = None
    used(["A C"], truncation=True, max_length=1)
    return used


FRAME = pd.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"]}, index=[3, 4])
HELPED = "def g(x{}): return x {} 1\n\ndef f(x): return g(x)"
CACHED = "import functools\n\n@functools.cache\n" + HELPED
METHOD = "class A:\n    def g(self, x): return x {} 1\n\ndef f(x): return A().g(x)"

# Each line: what it is, a value, and values that differ from it and from one another.
DIFFERENT = {
    "number": [1, 1.0, True, "1", b"1", None, 1j, np.int64(1), np.float64(1), np.bool_(True)],
    "zero": [0.0, -0.0, float("nan")],
    "nesting": [[1, [2]], [[1], 2], [1, 2], (1, 2), [2, 1], [], (), {}, set()],
    "dict": [{"a": 1}, {"a": 2}, {"b": 1}, {"a": 1, "b": 1}, FrozenDict({"a": 1})],
    "numpy": [
        np.arange(4.0), np.arange(4.0).reshape(2, 2), np.arange(4), np.array([0.0, 1, 2, 4]),
        np.arange(4.0).astype(">f8"), np.arange(4.0, dtype="f4"), np.arange(4).astype("M8[s]"),
    ],
    "library": [np.float32([1, 2]), jnp.float32([1, 2]), torch.tensor([1.0, 2]), [1.0, 2.0]],
    "jax": [jnp.arange(3), jnp.arange(3.0), jax.random.key(1), jax.random.key(2)],
    "torch": [torch.ones(2), torch.ones(2, dtype=torch.bfloat16), torch.ones(1, 2)],
    "objects": [np.array(["a", None], object), np.array([None, "a"], object)],
    "frame": [
        FRAME, FRAME[["b", "a"]], FRAME.rename(columns={"a": "c"}), FRAME.iloc[::-1],
        FRAME.reset_index(drop=True), FRAME.astype({"a": "f4"}), FRAME.astype({"b": object}),
        FRAME.assign(a=[1.0, 3.0]), FRAME.assign(b=["x", "z"]), FRAME.rename_axis("i"),
        FRAME.astype({"b": "category"}), FRAME["a"], FRAME["b"], FRAME.index, FRAME[["a"]],
    ],
    "path": [Path("a/b"), Path("a/c"), "a/b"],
    "dataclass": [Setting(0.1), Setting(0.2), Setting(0.1, "b")],
    "own": [Dataset([1]), Dataset([2]), [1]],
    "closure": [closed_over(1), closed_over(2), closed_over(1.0)],
    "default": [lambda x=1: x, lambda x=2: x, lambda *, x=1: x, lambda x=Dataset: x],
    "code": [
        lambda x: x + 1,
        lambda x: x - 1,
    ],
    "typed code": [compiled(f"f = lambda {a}") for a in ("x: x + 1", "x: x - 1", "y: y + 1")],
    "helper": [compiled(HELPED.format(*a)) for a in (("", "+"), ("", "-"), ("=2", "+"))],
    "default of a helper": [compiled(HELPED.format(f"={a}", "+")) for a in (1, 2)],
    "helper that is wrapped": [compiled(CACHED.format("", sign)) for sign in "+-"],
    "method of a helper": [compiled(METHOD.format(sign)) for sign in "+-"],
    "partial": [functools.partial(max, 1), functools.partial(max, 2), functools.partial(min, 1)],
    "function": [len, max, np.exp, np.sin, np.mean, jax.nn.gelu, jax.nn.relu, Setting, Dataset],
    "method": [Setting(0.1).__init__, Setting(0.2).__init__, [1].count, [2].count],
    "jitted": [jax.jit(closed_over(1)), jax.jit(closed_over(2)), closed_over(1)],
    "optimiser": [optax.adam(1e-3), optax.adam(2e-3), optax.adam(1e-3, b1=0.8), optax.sgd(1e-3)],
    "flax module": [Network(4), Network(5)],
    "state": [new_state(), new_state(seed=1), new_state(rate=2e-3), one_step(new_state())],
    "torch module": [
        Layer(), changed_weight(), Layer(scale=2.0), Layer(dropout=0.2), Layer().eval(),
    ],
    "torch settings": [convolution(1), convolution(2)],
    "torch config": [Configured(width=1), Configured(width=2)],
    "dates": [datetime.date(2026, 1, 1), datetime.date(2026, 1, 2), datetime.timedelta(1)],
    "dtypes and modules": [np.dtype("f4"), np.dtype("f8"), np.float32, jnp.float32, np, jnp],
    "torch things": [torch.float32, torch.bfloat16, torch.device("cpu"), torch.device("meta")],
    "generator": [np.random.default_rng(1), np.random.default_rng(2)],
}  # fmt: skip

# Each line: ways to come by the same content.
EQUAL = {
    "dict order": [{"a": 1, "b": 2}, {"b": 2, "a": 1}],
    "set order": [set("MALWM"), set(reversed("MALWM"))],
    "memory order": [np.eye(3)[:2], np.asfortranarray(np.eye(3)[:2]), np.eye(6)[:4:2, :6:2]],
    "frame layout": [
        pd.DataFrame(np.eye(2), columns=["a", "b"]),
        pd.DataFrame({"a": [1.0, 0.0], "b": [0.0, 1.0]}),
        pd.DataFrame({"b": [0.0, 1.0], "a": [1.0, 0.0]})[["a", "b"]],
    ],
    "closure": [closed_over(1), closed_over(1)],
    "typed twice": [
        compiled("def f(x):\n    return x"),
        compiled("\n\ndef f(x):\n    # As it is.\n    return x"),
    ],
    "optimiser": [optax.adam(1e-3), optax.adam(1e-3)],
    "state": [new_state(), new_state()],
    "torch module": [Layer(), Layer()],
    "own": [Dataset([1]), Dataset([1])],
    "where a model was": [Configured(_name_or_path="a"), Configured(_name_or_path="b")],
    "torch layout": [torch.eye(3)[:, :2], torch.eye(3)[:, :2].contiguous()],
    "generator": [np.random.default_rng(1), np.random.default_rng(1)],
}


@pytest.mark.parametrize("kind", DIFFERENT)
def test_any_change_is_noticed(kind):
    prints = [fingerprint(value) for value in DIFFERENT[kind]]
    assert len(set(prints)) == len(prints)
    assert all(len(p) == 64 for p in prints)


@pytest.mark.parametrize("kind", EQUAL)
def test_equal_content_has_equal_fingerprints(kind):
    assert len({fingerprint(value) for value in EQUAL[kind]}) == 1


def test_a_tokenizer_is_its_vocabulary_and_rules_and_not_its_last_use():
    different = [tokenizer(), tokenizer(["D"]), tokenizer(mask="<eos>")]
    assert len({fingerprint(value) for value in different}) == 3
    assert fingerprint(tokenizer()) == fingerprint(used_tokenizer())


def test_where_one_text_ends_and_the_next_begins_counts():
    assert len({digest("ab", "c"), digest("a", "bc"), digest("abc"), digest("abc", "")}) == 4


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
        spec.loader.exec_module(module)
        monkeypatch.setitem(sys.modules, "a_module", module)
        return fingerprint(getattr(module, function))

    file, times = tmp_path / "a_module.py", itertools.count(10**18, 10**9)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    first = of(HELPED.format("", "+"))
    assert of(HELPED.format("", "+")) == first != of(edited)
    if "class A" in edited:
        assert of(METHOD.format("+"), "A") != of(METHOD.format("-"), "A")


def test_a_notebook_s_helpers_are_followed_by_name():
    def asked(*cells):
        program = "from dlfb.utils.fingerprint import fingerprint\n"
        program += (
            "".join(f"exec(compile({cell!r}, '<cell>', 'exec'))\n" for cell in cells)
            + "print(fingerprint(f))"
        )
        done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True)
        return done.stdout or pytest.fail(done.stderr.decode())

    cells = [
        ("def g(x): return x", "def f(x): return g(x)"),
        ("def g(x): return x + 1", "def f(x): return g(x)"),
        ("def g(x, y=1): return x", "def f(x): return g(x)"),
        ("class g:\n  def __init__(self, x): self.x = x", "def f(x): return g(x)"),
        ("class g:\n  def __init__(self, x): self.y = x", "def f(x): return g(x)"),
        ("class g:\n  y = 1\n  def __init__(self, x): self.y = x", "def f(x): return g(x)"),
    ]
    wraps = "import functools\ndef by(n):\n  def d(f):\n    @functools.wraps(f)\n"
    wraps += "    def w(*a): return f(*a) * n\n    return w\n  return d\n"
    prop = "import functools\nclass g:\n  "
    for old in (
        "import functools\ndef k(x, n): return n\ng = functools.partial(k, n=1)",
        wraps + "@by(1)\ndef g(x): return x",
        "class g:\n  r = [1, 2]",
        "class g:\n  class h:\n    def m(s): return 1",
        prop + "@functools.cached_property\n  def p(s): return 1",
        prop + "@property\n  def p(s): return 0\n  @p.setter\n  def p(s, v): s.v = 1",
    ):
        cells += [(old, "def f(x): return g(x)"), (old.replace("1", "3"), "def f(x): return g(x)")]
    assert len({asked(*pair) for pair in cells}) == len(cells)
    assert asked("def other(): pass", *cells[0]) == asked(*cells[0])


def test_circles_end():
    items = [1]
    items.append(items)

    def recursive(n):
        return n and recursive(n - 1)

    def unbound():
        return never

    if len(items) == 0:
        never = 1
    assert fingerprint(unbound) == fingerprint(unbound)
    assert fingerprint(items) != fingerprint([1, 1])
    assert fingerprint(recursive) == fingerprint(recursive)


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ({"train": [object()]}, r"the value\['train'\]\[0\] is a builtins.object"),
        (Setting(object()), r"the value.rate is a builtins.object"),
        (closed_over(object()), "in closed_over.<locals>.<lambda>.*the variable value is a"),
        (iter([1]), "list_iterator"),
        (random.Random(1), "random.Random.*give Random a method __fingerprint__"),
        (FRAME.assign(a=[object(), 1]), "builtins.object"),
    ],
)
def test_what_has_no_fingerprint_is_named(value, named):
    with pytest.raises(TypeError, match=named):
        fingerprint(value)


def test_other_processes_and_hash_seeds_agree():
    code = (
        "import json, sys\nfrom tests.utils import test_fingerprint as t\n"
        "json.dump({k: [t.fingerprint(v) for v in t.DIFFERENT[k]] for k in sys.argv[1:]}, "
        "sys.stdout)"
    )
    names = ["dict", "nesting", "frame", "code", "closure", "state", "torch module"]
    env = os.environ | {"PYTHONHASHSEED": "7", "PYTHONPATH": str(ROOT)}
    out = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, *names],
        cwd=ROOT, env=env, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    here = {k: [importable().fingerprint(v) for v in importable().DIFFERENT[k]] for k in names}
    assert json.loads(out) == here


def importable():
    """Return this module under the name by which another process imports it."""
    from tests.utils import test_fingerprint

    return test_fingerprint


def test_sets_in_code_do_not_depend_on_the_hash_seed():
    code = (
        "from dlfb.utils.fingerprint import fingerprint\n"
        "print(fingerprint(lambda x: x in {'M', 'A', 'L', 'W'}), fingerprint(set('MALW')))"
    )
    outs = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT, env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }  # fmt: skip
    assert len(outs) == 1


def test_a_hundred_megabytes_take_under_half_a_second():
    arrays = [np.random.default_rng(i).random(2_500_000) for i in range(5)]
    # Time on this thread's own core: how busy the machine is besides is not our matter.
    times = []
    for _ in range(3):
        start = time.thread_time()
        fingerprint(arrays)
        times.append(time.thread_time() - start)
    assert min(times) < 0.5
