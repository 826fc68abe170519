"""What a reader of the printed chapter types: its names import, its calls work as printed.

Every call is made by position and by keyword, on tiny data. The language model comes straight
from transformers, as in the book.
"""

import importlib
import inspect
from pathlib import Path

import jax
import numpy as np
import optax
import pandas as pd
import pytest
from transformers import AutoModel, AutoTokenizer, EsmForMaskedLM, EsmModel

from dlfb.proteins import dataset, train
from dlfb.proteins.inspect import MaskPredictor
from dlfb.proteins.model import Model
from dlfb.provision import main
from dlfb.utils.context import POCKET_MODEL, assets, checkpoint
from dlfb.utils.display import display, print_short_dict
from dlfb.utils.restore import restorable
from tests.tiny_esm import CHECKPOINTS, save_tiny_esm

NAMES = {
    "dlfb.utils.display": "print_short_dict display",
    "dlfb.utils.context": "assets",
    "dlfb.utils.restore": "restorable",
    "dlfb.utils.metric_plots": "DEFAULT_SPLIT_COLORS",
    "dlfb.utils.config": "configure_figures_and_table_display",
    "dlfb.proteins.dataset": "get_mean_embeddings store_sequence_embeddings "
    "load_sequence_embeddings build_dataset get_go_term_descriptions",
    "dlfb.proteins.inspect": "MaskPredictor",
    "dlfb.proteins.model": "Model",
    "dlfb.proteins.train": "train train_step eval_step compute_metrics "
    "calculate_per_target_metrics",
    "dlfb.proteins.utils": "get_device",
    "dlfb.proteins.structures": "fetch_protein_structure",
}
SIGNATURES = {
    dataset.get_mean_embeddings: "sequences tokenizer model device=None",
    dataset.store_sequence_embeddings:
    "sequence_df store_prefix tokenizer model batch_size force=False",
    dataset.load_sequence_embeddings: "store_file_prefix model_checkpoint",
    dataset.build_dataset: "store_file_prefix model_checkpoint",
    dataset.get_go_term_descriptions: "store_path",
    MaskPredictor: "tokenizer model",
    MaskPredictor.predict: "self sequence mask_index",
    MaskPredictor.plot_predictions: "self sequence mask_index",
    MaskPredictor.mask_sequence: "self sequence mask_index",
    Model: "num_targets dim=256",
    Model.create_train_state: "self rng dummy_input tx",
    train.train_step: "state batch",
    train.eval_step: "state batch",
    train.calculate_per_target_metrics: "logits targets",
    train.compute_metrics: "targets probs thresh=0.5",
    train.train: "state dataset_splits batch_size num_steps=300 eval_every=30",
}  # fmt: skip
SEQUENCES = ["MALWMRLLPL", "MKV", "GIVEQCCTSICSLYQLENYCN", "FVNQHLCGSHLVEALYLVCGERG", "MAAAK", "WW"]
PROTEIN_MODEL = CHECKPOINTS[0]


def both_ways(function, *values, **only_by_keyword):
    """Call by position and by the book's keywords; return both answers."""
    names = [n for n in inspect.signature(function).parameters if n != "self"]
    by_name = dict(zip(names, values, strict=False))
    return function(*values, **only_by_keyword), function(**by_name, **only_by_keyword)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("printed")
    save_tiny_esm(root / PROTEIN_MODEL)
    return root


@pytest.fixture
def bare(folder, monkeypatch):
    """The reader's own tokenizer and model; the hub's name is a folder here, as it is offline."""
    monkeypatch.chdir(folder)
    return AutoTokenizer.from_pretrained(PROTEIN_MODEL), EsmModel.from_pretrained(PROTEIN_MODEL)


@pytest.fixture
def table():
    ids = [f"P{i}" for i in range(6)]
    ones = {"GO:0000001": [1, 0] * 3, "GO:0000002": [0, 1, 1] * 2, "GO:0000003": [1, 1, 0] * 2}
    return pd.DataFrame({"EntryID": ids, "Sequence": SEQUENCES, "Length": 5, **ones})


@pytest.fixture
def splits():
    rng = np.random.default_rng(0)
    return {
        name: dataset.Split(
            rng.normal(size=(n, 8)).astype(np.float32),
            (rng.random((n, 3)) < 0.5).astype(np.float32),
            np.array([f"{name}{i}" for i in range(n)]),
            np.array(["GO:1", "GO:2", "GO:3"]),
        )
        for name, n in (("train", 20), ("valid", 6), ("test", 6))
    }


@pytest.fixture
def state():
    model, by_name = both_ways(Model, 3, 16)
    assert by_name == model
    values = jax.random.PRNGKey(42), np.zeros((1, 8), np.float32), optax.adam(0.001)
    first, second = both_ways(model.create_train_state, *values)
    jax.tree.map(np.testing.assert_array_equal, first.params, second.params)
    return first


@pytest.mark.parametrize("module", NAMES)
def test_every_name_imports(module):
    for name in NAMES[module].split():
        assert hasattr(importlib.import_module(module), name)


@pytest.mark.parametrize("function", SIGNATURES, ids=lambda f: f.__qualname__)
def test_parameters_have_the_book_s_names_order_and_defaults(function):
    asked = SIGNATURES[function].split()
    ours = list(inspect.signature(function).parameters.items())
    for expected, (name, parameter) in zip(asked, ours[: len(asked)], strict=True):
        assert expected in (name, f"{name}={parameter.default}")
    # What is ours comes after them, and need not be given.
    for _, parameter in ours[len(asked) :]:
        assert parameter.default is not parameter.empty or parameter.kind == parameter.VAR_KEYWORD


def test_embeddings(bare):
    first, second = both_ways(dataset.get_mean_embeddings, SEQUENCES, *bare, "cpu")
    assert first.shape == (6, 32)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(dataset.get_mean_embeddings(SEQUENCES, *bare), first, atol=1e-5)


def test_the_small_model_straight_from_transformers():
    folder = checkpoint(POCKET_MODEL)
    models = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder)
    assert dataset.get_mean_embeddings(["MALWM"], *models, "cpu").shape == (1, 192)


def test_stored_embeddings_become_a_data_set(bare, table, tmp_path):
    prefix = str(tmp_path / "protein_dataset")
    for name, rows in {"train": table[:4], "valid": table[4:5], "test": table[5:]}.items():
        both_ways(dataset.store_sequence_embeddings, rows, f"{prefix}_{name}", *bare, 64, False)
        dataset.store_sequence_embeddings(rows, f"{prefix}_{name}", *bare)
    # The file's name is the book's, whatever is appended to it.
    assert list(tmp_path.glob(f"protein_dataset_train_{PROTEIN_MODEL.replace('/', '_')}*"))
    stored, again = both_ways(dataset.load_sequence_embeddings, f"{prefix}_train", PROTEIN_MODEL)
    assert stored.shape == (4, 3 + 3 + 32) and stored.equals(again)
    expected = dataset.get_mean_embeddings(table["Sequence"][:4], *bare)
    found = stored[[f"ME:{i}" for i in range(1, 33)]]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    for built in (
        dataset.build_dataset(prefix, PROTEIN_MODEL),
        dataset.build_dataset(prefix, model_checkpoint=PROTEIN_MODEL),
        dataset.build_dataset(store_file_prefix=prefix, model_checkpoint=PROTEIN_MODEL),
    ):
        batch = next(built["train"].batch(32).as_numpy_iterator())
        assert batch["embedding"].shape == (4, 32) and batch["target"].shape == (4, 3)
        np.testing.assert_array_equal(batch["embedding"], found)
        assert [list(built[n].ids) for n in ("valid", "test")] == [["P4"], ["P5"]]


def test_the_chapter_s_own_prefix(bare, table):
    for name in ("train", "valid", "test"):
        where = assets(f"proteins/datasets/protein_dataset_{name}")
        dataset.store_sequence_embeddings(table, where, *bare)
    prefix = assets("proteins/datasets/protein_dataset")
    built = dataset.build_dataset(prefix, model_checkpoint=PROTEIN_MODEL)
    assert len(built["train"]) == 6


def test_term_descriptions(tmp_path):
    first, second = both_ways(dataset.get_go_term_descriptions, str(tmp_path / "go"))
    assert list(first.columns) == ["term", "description"] and first.equals(second)
    assert first.set_index("term").loc["GO:0003674", "description"] == "molecular_function"


def test_mask_predictor(folder, monkeypatch):
    monkeypatch.chdir(folder)
    tokenizer = AutoTokenizer.from_pretrained(PROTEIN_MODEL)
    model = EsmForMaskedLM.from_pretrained(PROTEIN_MODEL)
    predictor, _ = both_ways(MaskPredictor, tokenizer, model)
    assert set(both_ways(predictor.mask_sequence, "MALWM", 2)) == {"MA<mask>WM"}
    first, second = both_ways(predictor.predict, "MALWM", 2)
    assert first.equals(second)
    for figure in both_ways(predictor.plot_predictions, "MALWM", 2):
        assert figure.axes


def test_one_step(state, splits):
    batch = next(splits["train"].batch(5).as_numpy_iterator())
    for stepped, loss in both_ways(train.train_step, state, batch):
        assert stepped.step == 1 and loss > 0
    first, second = both_ways(train.eval_step, state, batch)
    assert first == second and first["loss"] > 0


def test_metrics():
    targets, logits = np.array([[1, 0, 1], [0, 0, 1]]), np.array([[2, -1, -2], [0.5, -3, 1]])
    first, second = both_ways(train.calculate_per_target_metrics, logits, targets)
    assert len(first) == 2 and pd.DataFrame(first).equals(pd.DataFrame(second))
    probs = 1 / (1 + np.exp(-logits[0]))
    first, second = both_ways(train.compute_metrics, targets[0], probs, 0.5)
    assert first == second == train.compute_metrics(targets[0], probs)
    assert {"accuracy", "recall", "precision", "auprc", "auroc"} <= set(first)
    assert first["accuracy"] == pytest.approx(2 / 3) and first["recall"] == 0.5


def test_training_and_what_is_kept(state, splits, tmp_path):
    plain, by_name = both_ways(train.train, state, splits, 4, 6, 3)
    path = tmp_path / "mlp"
    kept, again = both_ways(restorable(train.train), state, splits, 4, 6, 3, store_path=path)
    assert list(tmp_path.glob("mlp*"))
    for trained, metrics in (plain, by_name, kept, again):
        assert set(metrics) == {"train", "valid"} and len(metrics["valid"]) >= 2
        jax.tree.map(np.testing.assert_array_equal, trained.params, plain[0].params)


def test_assets():
    path = assets("proteins/models/mlp")
    assert assets(subpath="proteins/models/mlp") == path and Path(path).is_absolute()


def test_showing_things(capsys):
    print_short_dict({"a": 1})
    print_short_dict(mapping={"a": 1})
    assert capsys.readouterr().out.count("'a': 1") == 2
    display([Model, train.compute_metrics, train.eval_step])
    shown = capsys.readouterr().out
    for line in ("class Model(nn.Module)", "def compute_metrics(", "def eval_step("):
        assert line in shown


def test_the_command_knows_the_book_s_options(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = capsys.readouterr().out
    assert "--chapter" in shown and "--destination" in shown
