"""Labels of one's own: what is read, what is refused, and the way from there to a network."""

import jax
import numpy as np
import optax
import pandas as pd
import pytest

from dlfb.proteins.dataset import build_dataset, proteins_at, split_proteins
from dlfb.proteins.embedding_store import store_sequence_embeddings
from dlfb.proteins.labels import label_table
from dlfb.proteins.language_model import load_language_model
from dlfb.proteins.metrics import per_term_metrics
from dlfb.proteins.model import Model
from dlfb.proteins.train import predict, train
from dlfb.utils.context import POCKET_MODEL

FASTA = ">P2\nMKV\n>P1 first\nMALW\n>P3\nMKKK\n"
NAN = np.nan


@pytest.fixture
def read(tmp_path):
    def read(labels: str, fasta: str = FASTA) -> pd.DataFrame:
        (tmp_path / "mine.fasta").write_text(fasta, encoding="utf-8")
        (tmp_path / "labels.tsv").write_text(labels, encoding="utf-8")
        return label_table(tmp_path / "mine.fasta", tmp_path / "labels.tsv")

    return read


def test_pairs(read, capsys):
    table = read("P1\tcell wall\nP2\tété\nP1\tété\nP1\tété\nP9\t7\n")
    assert capsys.readouterr().out == (
        "labels.tsv: 3 labels of 2 proteins; dropped: 1 that mine.fasta lacks, first 'P9'\n"
    )
    assert list(table) == ["EntryID", "Sequence", "Length", "7", "cell wall", "été"]
    assert table["EntryID"].tolist() == ["P1", "P2", "P3"] and table["Length"].tolist() == [4, 3, 4]
    expected = [[0, 1, 1], [0, 0, 1], [NAN] * 3]
    np.testing.assert_array_equal(table.iloc[:, 3:], expected)
    assert set(table.dtypes.iloc[3:]) == {np.dtype("float32")}


def test_wide(read):
    table = read("id\tb\ta\r\nP3\t1\t\r\n\r\nP1\t0\t1\r\n")
    assert list(table)[3:] == ["a", "b"]
    np.testing.assert_array_equal(table.iloc[:, 3:], [[1, 0], [NAN, NAN], [NAN, 1]])


def test_one_column_of_0_and_1_is_a_label_unless_the_header_says_otherwise(read):
    assert list(read("id\tsecreted\nP1\t1\nP2\t0\n"))[3:] == ["secreted"]
    assert list(read("protein\tlabel\nP1\t1\nP2\t0\n"))[3:] == ["0", "1"]
    assert list(read("P1\t1\nP2\t0\n"))[3:] == ["0", "1"]
    assert list(read("id\tplace\nP1\tnucleus\n"))[3:] == ["nucleus"]


@pytest.mark.parametrize(
    "labels, said",
    {
        "P1\tLength\n": "'Length' is the name of another column",
        "P1\tME:1\n": "'ME:1' is the name of another column",
        "P1\n": "a protein, a tab",
        "": "a protein, a tab",
        "P1\ta\nP2\ta\tb\n": "line 2: 2 cells are wanted",
        "P1\ta\n\n\tb\n": "line 3: there is no protein",
        "P1\ta\nP2\t \n": "line 2: there is no label",
        "id\ta\tb\nP1\t1\tyes\n": "line 2: 1, 0 or nothing",
        "id\ta\tb\nP1\t1\t0\nP1\t1\t1\n": "line 3: the protein has an earlier line",
        "id\ta\ta\nP1\t1\t0\n": "line 1: a header is wanted",
        "P1\t1\t0\n": "line 1: a header is wanted",
        "Q1\ta\nQ2\tb\n": "first 'Q2'. Use the same ids",
    }.items(),
)
def test_what_can_t_be_read_gets_a_sentence(read, labels, said):
    with pytest.raises(ValueError, match="labels.tsv.*" + said):
        read(labels)


def test_two_sequences_of_one_name_are_refused(read):
    with pytest.raises(ValueError, match="'P1' has two sequences"):
        read("P1\ta\n", fasta=">P1\nMK\n>P1\nMA\n")


# The whole way, from the two files to the metrics of each label on the test set.


def scores_of(table: pd.DataFrame, folder) -> pd.DataFrame:
    tokenizer, model = load_language_model(POCKET_MODEL)
    for name, part in split_proteins(table).items():
        store_sequence_embeddings(part, folder / f"mine_{name}", tokenizer, model)
    splits = build_dataset(folder / "mine", POCKET_MODEL)
    start = Model(num_targets=len(splits["train"].terms)).create_train_state(
        jax.random.PRNGKey(42), splits["train"].embeddings[:1], optax.adam(0.001)
    )
    state, history = train(start, splits, num_steps=60, eval_every=30)
    assert np.isfinite(history["valid"][-1]["loss"])
    test = splits["test"]
    return per_term_metrics(pd.DataFrame(test.targets, columns=test.terms), predict(state, test))


def test_two_made_classes_are_learned_and_unknown_cells_are_left_out(read, tmp_path):
    rng, letters = np.random.default_rng(42), {"acid & base": "DEKRDEKRGS", "7": "AILVFAILVGS"}
    fasta, labels = "", "id\t7\tacid & base\n"
    for number in range(120):
        own = list(letters)[number % 2]
        fasta += f">P{number:03}\nM{''.join(rng.choice(list(letters[own]), 40))}\n"
        cells = [str(int(own == label)) for label in ("7", "acid & base")]
        if number % 3 == 0:
            cells[rng.integers(2)] = ""
        labels += "\t".join([f"P{number:03}", *cells]) + "\n"
    table = read(labels, fasta)
    assert table[["7", "acid & base"]].isna().sum().sum() == 40
    scores = scores_of(table, tmp_path)
    assert scores.index.tolist() == ["7", "acid & base"] and (scores["auroc"] > 0.95).all()


def test_real_locations_are_learned(read, tmp_path):
    places = {"extracellular region": "GO:0005576", "nucleus": "GO:0005634"}
    parts = [proteins_at(term, at_least=60)[:80].assign(at=n) for n, term in places.items()]
    proteins = pd.concat(parts)
    fasta = "".join(f">{row.EntryID}\n{row.Sequence}\n" for row in proteins.itertuples())
    labels = "".join(f"{row.EntryID}\t{row.at}\n" for row in proteins.itertuples())
    scores = scores_of(read(labels, fasta), tmp_path)
    assert scores.index.tolist() == list(places) and (scores["auroc"] > 0.65).all()
