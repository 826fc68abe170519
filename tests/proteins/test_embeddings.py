import itertools
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dlfb.proteins import forward, packed_forward
from dlfb.proteins.embeddings import get_mean_embeddings, model_window
from dlfb.proteins.language_model import load_language_model
from dlfb.proteins.sequences import AMINO_ACIDS, INSULIN

NAME = "facebook/esm2_t6_8M_UR50D"
CPU = torch.device("cpu")


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


@pytest.fixture
def padded(monkeypatch):
    """Take the way of a GPU."""
    monkeypatch.setattr(forward, "can_pack", lambda model: False)


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


@pytest.mark.parametrize("way", ["packed", "padded"])
def test_a_vector_does_not_depend_on_its_batch(embed, request, way):
    if way == "padded":
        request.getfixturevalue("padded")
    sequences = proteins([3, 400, 3, 57, 58, 1, 120, 500])
    alone = np.concatenate([embed([s]) for s in sequences])
    for budget in (1, 100, 1000, 100_000):
        assert distance(embed(sequences, token_budget=budget), alone) < 1e-5


def test_packed_and_padded_agree_with_each_other(embed, monkeypatch):
    sequences = proteins([5, 80, 81, 300])
    packed_ones = embed(sequences)
    monkeypatch.setattr(forward, "can_pack", lambda model: False)
    assert distance(embed(sequences), packed_ones) < 1e-5


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 7), max_size=12), st.integers(1, 200))
def test_order_and_duplicates_change_nothing(embed, picks, budget):
    pool = proteins([4, 9, 9, 30, 31, 60, 61, 90])
    vectors = embed([pool[i] for i in picks], token_budget=budget)
    assert vectors.shape == (len(picks), 32)
    if picks:
        assert distance(vectors, embed(pool)[picks]) < 1e-5


def test_each_sequence_needs_its_name(embed):
    with pytest.raises(ValueError, match="shorter"):
        embed(["MALWM", "MAL"], names=["insulin"])


def test_duplicates_are_computed_once(embed, monkeypatch):
    seen = []
    summer = forward.summer

    def spy(*args):
        sums = summer(*args)
        return lambda batch: seen.extend(batch) or sums(batch)

    monkeypatch.setattr(forward, "summer", spy)
    vectors = embed(["MALWM", "malwm", " MAL WM*", "MALW"])
    assert sorted(seen) == ["MALW", "MALWM"]
    np.testing.assert_array_equal(vectors[0], vectors[1])


def test_batches_are_cut_by_length_and_keep_to_the_budget(embed, monkeypatch):
    batches = []
    summer = forward.summer

    def spy(*args):
        sums = summer(*args)
        return lambda batch: batches.append([len(s) for s in batch]) or sums(batch)

    monkeypatch.setattr(forward, "summer", spy)
    lengths = [10, 300, 20, 290, 30, 280, 40, 500]
    embed(proteins(lengths), token_budget=604)
    assert list(itertools.chain(*batches)) == sorted(lengths, reverse=True)
    assert all(len(batch) * (batch[0] + 2) <= 604 for batch in batches)
    assert batches[:2] == [[500], [300, 290]]
    batches.clear()
    monkeypatch.setattr(forward, "token_budget_for", lambda *_: 1100)
    embed(proteins(lengths), batch_size=3)
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
    assert model_window(tokenizer_and_model[1]) == 1022


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


# --- precision


@pytest.mark.parametrize("way", ["packed", "padded"])
def test_fast_is_within_its_tolerance(embed, monkeypatch, request, way):
    if way == "padded":
        request.getfixturevalue("padded")
    sequences = proteins([5, 80, 300, 1100])
    exact = embed(sequences)
    # As on a CPU that has the instructions; others compute the same, more slowly.
    monkeypatch.setattr(forward, "dtype_for", lambda *_: torch.bfloat16)
    fast = embed(sequences, precision="fast")
    assert 1e-5 < distance(fast, exact) < 2e-2  # it is another precision, and near
    assert fast.dtype == np.float32


def test_what_a_precision_means(monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False, raising=False)
    for has_bf16, fast in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(
            torch.cpu, "_is_avx512_bf16_supported", lambda has=has_bf16: has, raising=False
        )
        assert forward.dtype_for("fast", CPU) == fast
        assert forward.dtype_for("exact", CPU) == torch.float32
    gpu = torch.device("cuda", 0)
    for capability, fast in (((9, 0), torch.bfloat16), ((7, 5), torch.float16)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _, c=capability: c)
        assert forward.dtype_for("fast", gpu) == fast
        assert forward.dtype_for("exact", gpu) == torch.float32
    assert forward.dtype_for("fast", torch.device("mps")) == torch.float32


def test_the_budget_of_a_gpu_goes_by_its_memory(monkeypatch, tokenizer_and_model):
    model, gpu = tokenizer_and_model[1], torch.device("cuda", 0)
    for gigabytes, tokens in ((0.01, 4096), (0.04, 6250), (140, 65536)):
        monkeypatch.setattr(
            torch.cuda, "mem_get_info", lambda _, g=gigabytes: (int(g * 1e9), int(200e9))
        )
        assert forward.token_budget_for(model, gpu) == tokens
    assert forward.token_budget_for(model, CPU) == forward.CPU_TOKENS * torch.get_num_threads()
    assert forward.token_budget_for(model, torch.device("mps")) == 4096


# --- the packed way, only where it gives the same


def changed(*_):
    raise TypeError("takes 7 arguments")


@pytest.mark.parametrize(
    ("where", "name", "stand_in"),
    [
        (torch.backends.cpu, "get_cpu_capability", lambda: "SVE256"),
        (torch.ops.mkldnn, "_linear_pointwise", changed),
        (torch.ops.mkldnn, "_linear_pointwise", lambda x, *_: x),
        (torch.ops.mkldnn, "_reorder_linear_weight", changed),
    ],
    ids=["another processor", "changed", "another result", "no layout"],
)
def test_with_and_without_onednn_it_is_the_same(
    embed, tokenizer_and_model, monkeypatch, where, name, stand_in
):
    def in_its_layout():
        return packed_forward.layers(tokenizer_and_model[1])[0].qkv.weight.is_mkldnn

    packed_forward._onednn_works.cache_clear()
    sequences = proteins([40, 41, 3, 120])
    capable = torch.backends.cpu.get_cpu_capability().startswith("AVX")
    assert in_its_layout() == (capable and torch.backends.mkldnn.is_available())
    expected = embed(sequences)
    with monkeypatch.context() as patch:
        patch.setattr(where, name, stand_in)
        packed_forward._onednn_works.cache_clear()
        assert not in_its_layout()
        assert distance(embed(sequences), expected) < 1e-5
    packed_forward._onednn_works.cache_clear()


def test_a_cpu_takes_proteins_end_to_end(embed, monkeypatch):
    packed, seen = forward.packed_states, []

    def spy(model, weights, ids, lengths):
        seen.append(sorted(lengths))
        return packed(model, weights, ids, lengths)

    monkeypatch.setattr(forward, "packed_states", spy)
    embed(proteins([40, 3]), token_budget=1000)
    assert sorted(itertools.chain(*seen)) == [5, 42]


@pytest.mark.parametrize("threads", [1, 2, 3, 5])
def test_threads_share_the_proteins_and_keep_their_order(embed, threads):
    sequences = proteins([40, 41, 3, 120])
    expected, before = embed(sequences), torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert distance(embed(sequences), expected) < 1e-5
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


def test_each_part_has_one_thread_and_an_error_is_passed_on():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    here = threading.get_ident()

    def sums(items):
        seen.append((threading.get_ident() != here, torch.get_num_threads(), items))
        return torch.tensor([[float(item)] for item in items])

    try:
        seen = []
        assert forward._in_threads(sums, ["1", "2", "3"]).tolist() == [[1], [2], [3]]
        assert sorted(seen) == [(True, 1, ["1", "3"]), (True, 1, ["2"])]
        seen = []
        assert forward._in_threads(sums, ["1"]).tolist() == [[1]]
        assert seen == [(False, 2, ["1"])]
        with pytest.raises(ValueError, match="could not convert"):
            forward._in_threads(sums, ["1", "x"])
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(torch.get_num_threads).result() == 2  # one that comes later
    finally:
        torch.set_num_threads(before)


def test_what_can_be_packed(tokenizer_and_model):
    import copy

    model = copy.deepcopy(tokenizer_and_model[1])
    assert forward.can_pack(model)
    handle = model.encoder.layer[0].register_forward_hook(lambda *_: None)
    assert not forward.can_pack(model)
    handle.remove()

    class Adapted(torch.nn.Linear):
        def forward(self, x):
            return super().forward(x) + 1

    attention = model.encoder.layer[1].attention.self
    attention.query = Adapted(32, 32)
    assert not forward.can_pack(model)


def test_an_adapted_model_is_asked_itself(tokenizer_and_model):
    import copy

    tokenizer, model = tokenizer_and_model
    adapted = copy.deepcopy(model)
    adapted.encoder.layer[0].register_forward_hook(lambda module, args, out: out.roll(1, -1))
    expected = by_hand(tokenizer, adapted, INSULIN)[None]
    assert distance(get_mean_embeddings([INSULIN], tokenizer, adapted, "cpu"), expected) < 1e-5
    assert distance(get_mean_embeddings([INSULIN], tokenizer, model, "cpu"), expected) > 1e-3


def test_without_token_dropout_nothing_is_scaled(tokenizer_and_model):
    import copy

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
    import copy

    tokenizer, model = tokenizer_and_model
    with pytest.raises(ValueError, match=r"torch\.float16.*precision='fast'"):
        get_mean_embeddings(["MALWM"], tokenizer, copy.deepcopy(model).half(), "cpu")


def test_a_damaged_model_is_an_error(tokenizer_and_model):
    import copy

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
