"""One vector per protein: what it is, what it does not depend on, and what is refused."""

import copy
import itertools
from concurrent.futures import ThreadPoolExecutor
from unittest.mock import MagicMock, call

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dlfb.proteins import embeddings
from dlfb.proteins.embeddings import get_mean_embeddings
from dlfb.proteins.encoder import encoder_of
from dlfb.proteins.language_model import load_language_model
from dlfb.proteins.sequences import AMINO_ACIDS, INSULIN

NAME = "facebook/esm2_t6_8M_UR50D"


@pytest.fixture(scope="module")
def tokenizer_and_model(tiny_checkpoints):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DLFB_CHECKPOINTS", str(tiny_checkpoints))
        return load_language_model(NAME)


@pytest.fixture
def other_model(tokenizer_and_model):
    """Return a copy of the model that a test may change."""
    return copy.deepcopy(tokenizer_and_model[1])


@pytest.fixture
def embed(tokenizer_and_model):
    def embed(sequences, model=tokenizer_and_model[1], device="cpu", **options):
        return get_mean_embeddings(sequences, tokenizer_and_model[0], model, device, **options)

    return embed


@pytest.fixture
def batches(monkeypatch):
    """Return a list that fills up with the batches that are computed."""
    seen, sums = [], embeddings._sum_states

    def spy(*args):
        seen.append([piece for _, piece in args[-1]])
        return sums(*args)

    monkeypatch.setattr(embeddings, "_sum_states", spy)
    return seen


def proteins(lengths, seed=0):
    rng = np.random.default_rng(seed)
    return ["".join(rng.choice(AMINO_ACIDS, n)) for n in lengths]


def distance(a, b):
    """Return the largest distance of two vectors, relative to their length."""
    return (np.linalg.norm(a - b, axis=1) / np.linalg.norm(b, axis=1)).max()


def by_hand(tokenizer, model, sequence, positions=slice(1, -1)):
    """Return what transformers alone gives for one protein, tokenized by the tokenizer."""
    with torch.no_grad():
        states = model(**tokenizer(sequence, return_tensors="pt")).last_hidden_state
    return states[0, positions].mean(0).numpy()[None]


def test_a_vector_is_the_mean_over_the_residues(embed, tokenizer_and_model):
    sequences = [INSULIN, "MALWM", "UOBZX"]
    vectors = embed(sequences)
    assert vectors.shape == (3, 32) and vectors.dtype == np.float32
    expected = np.concatenate([by_hand(*tokenizer_and_model, s) for s in sequences])
    assert distance(vectors, expected) < 1e-5
    # The book's mean of a protein alone differs by far more than rounding.
    expected = by_hand(*tokenizer_and_model, INSULIN, slice(None))
    assert distance(embed([INSULIN], pooling="all"), expected) < 1e-5
    assert distance(embed([INSULIN]), expected) > 1e-3


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 7), max_size=12), st.integers(1, 200))
def test_batch_order_and_duplicates_change_nothing(embed, picks, budget):
    pool = proteins([4, 9, 9, 30, 31, 60, 61, 90])
    vectors = embed([pool[i] for i in picks], token_budget=budget)
    assert vectors.shape == (len(picks), 32) and vectors.dtype == np.float32
    if picks:
        alone = np.concatenate([embed([pool[i]]) for i in picks])
        assert distance(vectors, alone) < 1e-5


def test_duplicates_are_computed_once(embed, batches):
    vectors = embed(["MALWM", "malwm", " MAL WM*", "MALW"])
    assert sorted(itertools.chain(*batches)) == ["MALW", "MALWM"]
    np.testing.assert_array_equal(vectors[0], vectors[1])


def test_batches_are_cut_by_length_and_keep_to_the_budget(embed, batches, monkeypatch):
    lengths = [10, 300, 20, 290, 30, 280, 40, 500]
    embed(proteins(lengths), token_budget=604)
    batches.sort(key=lambda batch: -len(batch[0]))  # threads are not in order
    assert [len(s) for s in itertools.chain(*batches)] == sorted(lengths, reverse=True)
    assert [len(batch) for batch in batches] == [1, 2, 2, 3]
    assert all(len(batch) * (len(batch[0]) + 2) <= 604 for batch in batches)
    batches.clear()
    monkeypatch.setitem(embeddings.TOKENS, "cpu", 1100)
    embed(proteins(lengths), batch_size=3)
    batches.sort(key=lambda batch: -len(batch[0]))
    assert [len(batch) for batch in batches] == [2, 3, 3]  # the first by the default budget


def test_a_head_makes_no_difference(embed, use_tiny_checkpoints):
    _, with_head = load_language_model(NAME, masked=True)
    assert np.array_equal(embed([INSULIN], with_head), embed([INSULIN]))


# Longer than the window


def test_windows_are_averaged_by_residues(embed, tokenizer_and_model):
    assert encoder_of(*tokenizer_and_model).window == 1022
    [protein] = proteins([2500])
    cuts = [0, 833, 1666, 2500]
    windows = [protein[a:b] for a, b in itertools.pairwise(cuts)]
    for pooling, weights in {"residues": np.diff(cuts), "all": np.diff(cuts) + 2}.items():
        expected = (embed(windows, pooling=pooling) * weights[:, None]).sum(0) / weights.sum()
        for budget in (None, 10_000):  # one window per batch; all in one
            vectors = embed([protein], pooling=pooling, token_budget=budget)
            assert distance(vectors, expected[None]) < 1e-5


def test_the_window_itself_is_not_cut(embed, tokenizer_and_model):
    [protein] = proteins([1023])
    whole = embed([protein[:-1]])
    assert distance(whole, by_hand(*tokenizer_and_model, protein[:-1])) < 1e-5
    assert distance(embed([protein]), whole) > 1e-4


# Precision, threads, and what is left as it was


def test_fast_is_within_its_tolerance(embed):
    sequences = proteins([5, 80, 300, 1100])
    exact, fast = embed(sequences), embed(sequences, precision="fast")
    assert 1e-5 < distance(fast, exact) < 2e-2  # another precision, and near
    assert fast.dtype == np.float32


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_share_the_batches_and_keep_their_order(embed, threads, monkeypatch):
    sequences, sums, seen = proteins([40, 41, 3, 120]), embeddings._sum_states, set()
    monkeypatch.setattr(
        embeddings, "_sum_states", lambda *a: seen.add(torch.get_num_threads()) or sums(*a)
    )
    expected, before = embed(sequences), torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert distance(embed(sequences, token_budget=1), expected) < 1e-5
        assert seen == {1} and torch.get_num_threads() == threads
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(torch.get_num_threads).result() == threads  # one that comes later
    finally:
        torch.set_num_threads(before)


def test_the_model_is_left_as_it_was(embed, other_model):
    before = {name: weight.clone() for name, weight in other_model.state_dict().items()}
    states, layer = torch.randn(1, 7, 32), other_model.encoder.layer[1].intermediate
    expected = layer(states)
    with embeddings.at_work(other_model, torch.device("cpu")):
        assert "forward" in vars(layer)  # a faster GELU, of the same values
        torch.testing.assert_close(layer(states), expected, rtol=1e-6, atol=1e-6)
    embed(["MALWM"], other_model.train())
    assert other_model.training and "forward" not in vars(layer)
    assert all(torch.equal(before[name], w) for name, w in other_model.state_dict().items())
    assert not torch.is_inference_mode_enabled() and torch.is_grad_enabled()


def test_the_bar_has_a_total_and_counts_residues(embed, monkeypatch):
    bar = MagicMock()
    monkeypatch.setattr(embeddings, "progress", bar)
    embed(["MALWM", "MALWM", "KR"])
    assert bar.call_args.kwargs["total"] == 7
    assert [*bar().__enter__().update.call_args_list] == [call(7)]


# What is refused


TABLE = pd.DataFrame({"EntryID": ["P1"], "Sequence": ["MALWM"], "Length": [5]})


@pytest.mark.parametrize(
    ("sequences", "options", "message"),
    [
        (["MALWM", "MAJ"], {}, r"sequences\[1\].*'J' at position 3"),
        (["M"], {"pooling": "max"}, "no pooling='max'; choose one of residues, all"),
        (["M"], {"precision": 16}, "no precision=16; choose one of"),
        *((["M"], {k: n}, f"{k} must be a whole number, 1 or more, not {n}")
          for k in ("batch_size", "token_budget") for n in (0, 1.5, True)),
        *((["M"], {"device": d}, f"no device '{d}'") for d in ("gpu", "cuda:99")),
        *((wrong, {}, r"Pass a list of sequences.*table\['Sequence'\]")
          for wrong in ("MALWM", TABLE, TABLE[["Sequence"]], TABLE.iloc[0], TABLE.columns, 5,
                        {"MAL": "MALWM"}, {"MALWM"}, {"MAL": 1}.keys())),
    ],
)  # fmt: skip
def test_wrong_input_is_a_sentence(embed, sequences, options, message):
    with pytest.raises(ValueError, match=message):
        embed(sequences, **options)


def test_any_list_will_do(embed):
    expected = embed(["MALWM", "KR"])
    for sequences in (iter(["MALWM", "KR"]), pd.Series(["MALWM", "KR"], index=[7, 9])):
        np.testing.assert_array_equal(embed(sequences), expected)
    assert embed([]).shape == (0, 32)


def test_a_model_that_can_t_be_used_is_a_sentence(embed, tokenizer_and_model, other_model):
    with pytest.raises(ValueError, match="tokenizer comes first.*here they are EsmModel and Esm"):
        get_mean_embeddings(["M"], *reversed(tokenizer_and_model))
    with torch.no_grad():
        other_model.encoder.emb_layer_norm_after.weight[0] = float("nan")
    with pytest.raises(ValueError, match="not finite"):
        embed(["MALWM"], other_model)
    with pytest.raises(ValueError, match=r"torch\.float16.*precision='fast'"):
        embed(["MALWM"], other_model.half())


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("2 GiB")])
def test_where_memory_ends_the_way_out_is_named(embed, monkeypatch, error):
    def full(*_):
        raise error

    monkeypatch.setattr(embeddings, "_sum_states", full)
    with pytest.raises(MemoryError, match="memory of cpu. Use a token_budget smaller than 77,"):
        embed(["MALWM"], token_budget=77)
