"""The networks and the table of page 11: tools/compare_models.py and the file that it writes."""

import inspect
from pathlib import Path

import jax
import numpy as np
import pandas as pd
import pytest

from dlfb.proteins.embeddings import get_mean_embeddings
from dlfb.proteins.language_model import load_language_model
from tools import compare_models as tool


def outputs(network, x):
    variables = network.init(jax.random.PRNGKey(0), x[:1])
    return np.asarray(network.apply(variables, x))


def test_layers_have_the_widths_that_are_asked_for():
    x, network = np.ones((1, 4), np.float32), tool.Layers(5, widths=(8, 7))
    weights = network.init(jax.random.PRNGKey(0), x)["params"]
    assert [layer["kernel"].shape for layer in weights.values()] == [(4, 8), (8, 7), (7, 5)]


def test_functions_share_nothing_in_networks_of_their_own():
    x, network = np.ones((1, 4), np.float32), tool.OnePerFunction(5, dim=2)
    weights = network.init(jax.random.PRNGKey(0), x)

    slopes = jax.grad(lambda weights: network.apply(weights, x)[0, 2])(weights)["params"]
    kernel = np.abs(slopes["DenseGeneral_0"]["kernel"]).sum(axis=(0, 2))
    assert kernel[2] > 0 and kernel[[0, 1, 3, 4]].sum() == 0


def test_groups_of_functions_come_back_in_order():
    x, network = np.ones((1, 4), np.float32), tool.OnePerGroup(5, dim=2, groups=(1, 0, 2, 0, 1))
    weights = network.init(jax.random.PRNGKey(0), x)
    # Logits that tell which network they come from, and which of its outputs they are.
    for number, name in enumerate(sorted(weights["params"])):
        last = weights["params"][name]["Dense_2"]
        last["kernel"] = np.zeros_like(last["kernel"])
        last["bias"] = 10 * number + np.arange(len(last["bias"]))
    assert network.apply(weights, x)[0].tolist() == [10, 0, 20, 1, 11]


def test_attention_begins_as_the_mean_of_what_is_there():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 6, 4)).astype(np.float32)
    x[1, 3:] = 0
    network = tool.AttentionPooling(5, heads=3)
    weights = network.init(jax.random.PRNGKey(0), x[:1])
    means = np.stack([x[0].mean(axis=0), x[1, :3].mean(axis=0)])
    mlp = tool.Model(5).apply({"params": weights["params"]["Model_0"]}, np.tile(means, 3))
    assert np.allclose(network.apply(weights, x), mlp, atol=1e-5)
    longer = np.concatenate([x, np.zeros((2, 2, 4), np.float32)], axis=1)
    weights["params"]["Dense_0"]["kernel"] = rng.normal(size=(4, 3)).astype(np.float32)
    assert np.allclose(network.apply(weights, x), network.apply(weights, longer), atol=1e-5)


def test_convolution_does_not_see_the_padding():
    letters = np.array([[3, 1, 19, 20]], np.float32)
    longer = np.concatenate([letters, np.full((1, 4), -1, np.float32)], axis=1)
    network = tool.Convolution(5, motifs=40, width=3)
    assert np.allclose(outputs(network, letters), outputs(network, longer), atol=1e-6)
    assert not np.allclose(outputs(network, letters), outputs(network, letters[:, ::-1]))


# What they are given

SEQUENCES = ["MALWMRLLPLLALLALWGPDPAAA", "MKVXMKV", "GLFKWNMW", "MSTAAAKL"]


def test_layers_and_windows_are_those_of_the_embedding():
    model = load_language_model(tool.CHECKPOINT)
    found = tool.read(SEQUENCES, *model)
    assert found["layers"].shape == (4, 7, 192) and found["windows"].shape == (4, 100, 192)
    vectors = get_mean_embeddings(SEQUENCES, *model)
    assert np.allclose(found["layers"][:, -1], vectors, atol=1e-4)
    first, last, *rest = found["windows"][2].astype(float)
    assert np.allclose((5 * first + 3 * last) / 8, vectors[2], atol=5e-3) and not np.any(rest)


@pytest.fixture
def few(monkeypatch):
    """Three proteins for training, one for validation, and two long ones, with random states."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"EntryID": list("ABCD"), "Sequence": SEQUENCES})
    table["Length"], table["GO:1"] = table["Sequence"].str.len(), [1, 0, 1, 1]
    windows = np.zeros((4, 100, 6), np.float16)
    windows[:, :3] = rng.normal(size=(4, 3, 6))
    read = {"layers": rng.normal(size=(4, 3, 6)).astype(np.float32), "windows": windows}
    monkeypatch.setattr(tool, "material", lambda: (table[:3], table[3:], table[1:3], read))
    vectors = rng.normal(size=(4, 6)).astype(np.float32)
    monkeypatch.setattr(
        tool, "kept_vectors", lambda embed, sequences, *_: vectors[: len(sequences)]
    )


WIDTHS = {"last layer": 6, "layer 0": 6, "layers": 18, "windows": 18, "with length": 7,
          "with composition": 27, "composition": 21, "two models": 12}  # fmt: skip


@pytest.mark.parametrize("name", WIDTHS)
def test_vectors_are_standardised_on_the_training_set(few, name):
    splits = tool.splits_of(name, np.array(["GO:1"], object))
    x = splits["train"].embeddings
    assert x.shape == (3, WIDTHS[name]) and splits["valid"].embeddings.shape == (1, WIDTHS[name])
    assert np.allclose(x.mean(axis=0), 0, atol=1e-5)
    assert splits["train"].targets.tolist() == [[1], [0], [1]]


def test_training_sets_of_other_sizes_keep_their_annotation(few):
    for name, ids in {"half": "AC", "long, too": "ABCBC"}.items():
        splits = tool.splits_of(name, np.array(["GO:1"], object))
        assert list(splits["train"].ids) == list(ids) and list(splits["valid"].ids) == ["D"]
        assert len(splits["train"].embeddings) == len(splits["train"].targets) == len(ids)
        assert len(splits["valid"].embeddings) == 1


def test_letters_and_windows_end_where_the_protein_does(few):
    letters, _ = tool.inputs("letters")
    assert (letters >= 0).sum(axis=1).tolist() == [24, 7, 8, 8]
    assert letters[1, 3] == 20 and letters[0, 0] == tool.AMINO_ACIDS.index("M")
    windows, _ = tool.inputs("windows in order")
    assert windows.shape == (4, 100, 6) and windows[:, :3].all() and not windows[:, 3:].any()


def test_a_row_is_trained_from_five_seeds_once(few, monkeypatch, tmp_path):
    monkeypatch.setattr(tool, "assets", lambda name: str(tmp_path / Path(name).name))
    line = tool.row("training", "two steps", steps=2)
    found = tool.run(line)
    columns = ["part", "row", "seed", "auprc_per_protein", "auprc_per_term", "fmax", "best_step"]
    assert list(found) == columns and list(found["seed"]) == list(tool.SEEDS)
    assert set(found["best_step"]) == {2} and found["auprc_per_protein"].between(0, 1).all()
    monkeypatch.setattr(tool, "scores", None)
    assert tool.run(line).equals(found)
    with pytest.raises(TypeError):  # of another row under the same name
        tool.run(tool.row("training", "two steps", steps=3))


# The table that is stored


@pytest.fixture(scope="module")
def stored():
    return pd.read_csv(tool.OUTPUT, sep="\t", comment="#")


def test_stored_table_has_scores_of_every_row_from_five_seeds(stored):
    head = tool.OUTPUT.read_text(encoding="utf8").splitlines()[0]
    assert head.startswith("# python tools/compare_models.py: ") and "pocket_t6_3M" in head
    found = stored.groupby(["part", "row"], sort=False)["seed"].apply(list).to_dict()
    assert list(found) == [(line["part"], line["row"]) for line in tool.ROWS]
    assert set(map(tuple, found.values())) == {tuple(tool.SEEDS)} and len(tool.SEEDS) == 5
    scores = stored[["auprc_per_protein", "auprc_per_term", "fmax"]]
    assert scores.gt(0).all(axis=None) and scores.lt(1).all(axis=None)
    assert stored.groupby("row")["fmax"].std().lt(0.02).all()
    steps = {line["row"]: line["steps"] for line in tool.ROWS}
    assert (stored["best_step"] <= stored["row"].map(steps)).all()


def test_page_recomputes_a_row_and_shows_the_tools_attention(stored):
    page = (tool.ROOT / "notebooks/11_better_model.md").read_text(encoding="utf8")
    assert 'runs["row"] == "reference"' in page and "reference" in set(stored["row"])
    assert inspect.getsource(tool.AttentionPooling) in page
