import contextlib
import copy
import itertools
import threading
from concurrent.futures import ThreadPoolExecutor

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
def embed(tokenizer_and_model):
    tokenizer, model = tokenizer_and_model
    return lambda sequences, **options: get_mean_embeddings(
        sequences, tokenizer, model, "cpu", **options
    )


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
    return states[0, positions].mean(0).numpy()


def test_a_vector_is_the_mean_over_the_residues(embed, tokenizer_and_model):
    vectors = embed([INSULIN, "MALWM", "UOBZX"])
    assert vectors.shape == (3, 32) and vectors.dtype == np.float32
    expected = [by_hand(*tokenizer_and_model, s) for s in (INSULIN, "MALWM", "UOBZX")]
    assert distance(vectors, np.stack(expected)) < 1e-5


def test_pooling_all_is_the_books_mean_of_a_protein_alone(embed, tokenizer_and_model):
    expected = by_hand(*tokenizer_and_model, INSULIN, slice(None))
    assert distance(embed([INSULIN], pooling="all"), expected[None]) < 1e-5
    # And it differs from the mean over residues by far more than rounding.
    assert distance(embed([INSULIN]), expected[None]) > 1e-3


def test_a_vector_does_not_depend_on_its_batch(embed):
    sequences = proteins([3, 400, 3, 57, 58, 1, 120, 500])
    alone = np.concatenate([embed([s]) for s in sequences])
    for budget in (1, 100, 1000, 100_000):
        assert distance(embed(sequences, token_budget=budget), alone) < 1e-5


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 7), max_size=12), st.integers(1, 200))
def test_order_and_duplicates_change_nothing(embed, picks, budget):
    pool = proteins([4, 9, 9, 30, 31, 60, 61, 90])
    vectors = embed([pool[i] for i in picks], token_budget=budget)
    assert vectors.shape == (len(picks), 32)
    if picks:
        assert distance(vectors, embed(pool)[picks]) < 1e-5


@pytest.mark.parametrize("names", [["insulin"], "insulin", "MA"])
def test_each_sequence_needs_its_name(embed, names):
    with pytest.raises(ValueError, match="a list with one name for each of 2"):
        embed(["MALWM", "MAL"], names=names)


@pytest.fixture
def batches(monkeypatch):
    """Return a list that fills up with the batches that are computed."""
    seen, sums = [], embeddings._sum_states

    def spy(*args):
        seen.append([piece for _, piece in args[-1]])
        return sums(*args)

    monkeypatch.setattr(embeddings, "_sum_states", spy)
    return seen


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


def test_no_sequences_give_no_rows(embed):
    vectors = embed([])
    assert vectors.shape == (0, 32) and vectors.dtype == np.float32


def test_any_iterable_will_do(embed):
    expected = embed(["MALWM", "KR"])
    np.testing.assert_array_equal(embed(iter(["MALWM", "KR"])), expected)
    np.testing.assert_array_equal(embed(pd.Series(["MALWM", "KR"], index=[7, 9])), expected)


def test_the_masked_models_body_is_used(embed, tiny_checkpoints, monkeypatch):
    monkeypatch.setenv("DLFB_CHECKPOINTS", str(tiny_checkpoints))
    tokenizer, masked = load_language_model(NAME, masked=True)
    assert distance(get_mean_embeddings([INSULIN], tokenizer, masked, "cpu"), embed([INSULIN])) == 0


# --- longer than the window


def test_the_window_is_1022_residues(tokenizer_and_model):
    assert encoder_of(*tokenizer_and_model).window == 1022


def test_windows_are_averaged_by_residues(embed):
    [protein] = proteins([2500])
    cuts = [0, 833, 1666, 2500]
    windows = [protein[a:b] for a, b in itertools.pairwise(cuts)]
    weights = np.diff(cuts)
    expected = (embed(windows) * weights[:, None]).sum(0) / 2500
    for budget in (None, 10_000):  # a window a batch; all in one
        assert distance(embed([protein], token_budget=budget), expected[None]) < 1e-5
    weights = weights + 2
    expected = (embed(windows, pooling="all") * weights[:, None]).sum(0) / weights.sum()
    assert distance(embed([protein], pooling="all"), expected[None]) < 1e-5


def test_the_window_itself_is_not_cut(embed, tokenizer_and_model):
    [protein] = proteins([1023])
    whole = embed([protein[:-1]])
    expected = by_hand(*tokenizer_and_model, protein[:-1])
    assert distance(whole, expected[None]) < 1e-5
    assert distance(embed([protein], long="truncate"), whole) < 1e-6
    assert distance(embed([protein]), whole) > 1e-4


def test_too_long_is_an_error_on_request(embed):
    with pytest.raises(ValueError, match=r"titin: 1,023 residues .* window of 1,022"):
        embed(["M" * 1022, "M" * 1023], names=["fits", "titin"], long="error")


# --- precision, threads, models


def test_fast_is_within_its_tolerance(embed):
    sequences = proteins([5, 80, 300, 1100])
    exact, fast = embed(sequences), embed(sequences, precision="fast")
    assert 1e-5 < distance(fast, exact) < 2e-2  # it is another precision, and near
    assert fast.dtype == np.float32


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_share_the_batches_and_keep_their_order(embed, batches, threads):
    sequences = proteins([40, 41, 3, 120])
    expected, before = embed(sequences), torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert distance(embed(sequences, token_budget=1), expected) < 1e-5
        assert torch.get_num_threads() == threads
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(torch.get_num_threads).result() == threads  # one that comes later
    finally:
        torch.set_num_threads(before)


def test_each_batch_has_one_thread_of_its_own(embed, monkeypatch):
    seen, here = set(), threading.get_ident()

    def sums(*args):
        seen.add((torch.get_num_threads(), threading.get_ident() != here))
        return np.ones((len(args[-1]), 32)), np.ones(len(args[-1]))

    monkeypatch.setattr(embeddings, "_sum_states", sums)
    embed(proteins([40, 41, 3, 120]), token_budget=1)
    assert seen == {(1, True)}


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("2 GiB")])
def test_where_memory_ends_the_way_out_is_named(embed, monkeypatch, error):
    def full(*_):
        raise error

    monkeypatch.setattr(embeddings, "_sum_states", full)
    with pytest.raises(MemoryError, match="memory of cpu. Use a token_budget smaller than 77,"):
        embed(["MALWM"], token_budget=77)


def test_the_bar_has_a_total_and_counts_residues(embed, monkeypatch):
    bars = []

    class Bar(contextlib.nullcontext):
        def __init__(self, total, **_):
            super().__init__(self)
            self.total, self.n = total, 0
            bars.append(self)

        def update(self, n):
            self.n += n

    monkeypatch.setattr(embeddings, "progress", Bar)
    embed(["MALWM", "MALWM", "KR"])
    assert [(bar.total, bar.n) for bar in bars] == [(7, 7)]
    with pytest.raises(ValueError, match=r"sequences\[2\].*'J'"):  # before anything is embedded
        embed(["MALWM", "KR", "J"])
    assert len(bars) == 1


def test_an_adapted_model_is_asked_itself(tokenizer_and_model):
    tokenizer, model = tokenizer_and_model
    adapted = copy.deepcopy(model)
    adapted.encoder.layer[0].register_forward_hook(lambda module, args, out: out.roll(1, -1))
    expected = by_hand(tokenizer, adapted, INSULIN)[None]
    assert distance(get_mean_embeddings([INSULIN], tokenizer, adapted, "cpu"), expected) < 1e-5
    assert distance(get_mean_embeddings([INSULIN], tokenizer, model, "cpu"), expected) > 1e-3


def test_without_token_dropout_nothing_is_scaled(tokenizer_and_model):
    tokenizer, model = tokenizer_and_model
    other = copy.deepcopy(model)
    other.config.token_dropout = other.embeddings.token_dropout = False
    expected = by_hand(tokenizer, other, INSULIN)[None]
    assert distance(get_mean_embeddings([INSULIN], tokenizer, other, "cpu"), expected) < 1e-5
    assert distance(get_mean_embeddings([INSULIN], tokenizer, model, "cpu"), expected) > 1e-3


# --- errors, and what is left as it was


def test_a_bad_letter_is_named_with_record_and_position(embed):
    with pytest.raises(ValueError, match=r"sequences\[1\].*'J' at position 3"):
        embed(["MALWM", "MAJ"])
    with pytest.raises(ValueError, match=r"P01308.*'1' at position 2"):
        embed(["M1"], names=["P01308"])
    with pytest.raises(ValueError, match=r"sequences\[0\].*empty"):
        embed([" "])


@pytest.mark.parametrize("option", ["pooling", "precision", "long"])
def test_an_unknown_option_is_an_error_that_names_the_others(embed, option):
    with pytest.raises(ValueError, match=f"no {option}='best'; choose one of"):
        embed(["MALWM"], **{option: "best"})


def test_a_single_text_is_not_taken_for_a_list(embed):
    with pytest.raises(ValueError, match="is a str. Pass a list"):
        embed("MALWM")


def test_what_would_give_its_labels_is_refused(embed):
    table = pd.DataFrame({"EntryID": ["P1"], "Sequence": ["MALWM"], "Length": [5]})
    labelled = [table, table[["Sequence"]], {"MAL": "MALWM"}, {"MALWM"}, {"MAL": 1}.keys()]
    for sequences in [*labelled, 5]:
        with pytest.raises(ValueError, match=r"Pass a list of sequences.*table\['Sequence'\]"):
            embed(sequences)
    assert embed(table["Sequence"]).shape == embed(table.to_numpy()[:, 1]).shape == (1, 32)


def test_a_model_in_half_precision_is_refused(tokenizer_and_model):
    tokenizer, model = tokenizer_and_model
    with pytest.raises(ValueError, match=r"torch\.float16.*precision='fast'"):
        get_mean_embeddings(["MALWM"], tokenizer, copy.deepcopy(model).half(), "cpu")


def test_a_damaged_model_is_an_error(tokenizer_and_model):
    tokenizer, model = tokenizer_and_model
    broken = copy.deepcopy(model)
    with torch.no_grad():
        broken.encoder.emb_layer_norm_after.weight[0] = float("nan")
    with pytest.raises(ValueError, match="not finite"):
        get_mean_embeddings(["MALWM"], tokenizer, broken, "cpu")


def test_the_models_mode_and_weights_are_left_as_they_were(embed, tokenizer_and_model):
    tokenizer, model = tokenizer_and_model
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    model.train()
    try:
        embed(["MALWM"])
        assert model.training
    finally:
        model.eval()
    assert all(torch.equal(before[name], weight) for name, weight in model.state_dict().items())
    assert not torch.is_inference_mode_enabled() and torch.is_grad_enabled()


def test_the_gelu_is_the_models_own_and_is_put_back(tokenizer_and_model):
    model = tokenizer_and_model[1]
    states, layer = torch.randn(1, 7, 32), model.encoder.layer[1].intermediate
    expected = layer(states)
    with embeddings._at_work(model, torch.device("cpu")):
        assert "forward" in vars(layer)
        torch.testing.assert_close(layer(states), expected, rtol=1e-6, atol=1e-6)
    assert torch.equal(layer(states), expected) and "forward" not in vars(layer)


@pytest.mark.parametrize("device", ["gpu", "cuda:99", ""])
def test_a_device_that_is_not_here_is_a_sentence(tokenizer_and_model, device):
    with pytest.raises(ValueError, match=f"This machine has no device '{device}'"):
        get_mean_embeddings(["M"], *tokenizer_and_model, device)
