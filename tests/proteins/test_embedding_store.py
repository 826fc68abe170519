import gzip
import multiprocessing
import random
import time
import tracemalloc

import numpy as np
import pandas as pd
import pytest
import torch

from dlfb.proteins import dataset, embedding_store, embeddings
from dlfb.proteins.embeddings import (
    embed_fasta,
    get_mean_embeddings,
    load_sequence_embeddings,
    store_sequence_embeddings,
)
from dlfb.proteins.language_model import load_language_model
from dlfb.proteins.sequences import AMINO_ACIDS

NAME = "facebook/esm2_t6_8M_UR50D"
FOLDER = "train_facebook_esm2_t6_8M_UR50D"


@pytest.fixture
def tokenizer_and_model(use_tiny_checkpoints):
    return load_language_model(NAME)


@pytest.fixture
def table():
    """Return 11 proteins, two of them alike, with columns of several kinds."""
    rng = np.random.default_rng(0)
    sequences = ["".join(rng.choice(AMINO_ACIDS, n)) for n in rng.integers(5, 40, 11)]
    sequences[7] = sequences[2]
    return pd.DataFrame(
        {
            "EntryID": [f"P{i:05d}" for i in range(11)],
            "Sequence": sequences,
            "Length": [len(s) for s in sequences],
            "GO:1": rng.integers(0, 2, 11).astype("int8"),
            "place": pd.Categorical(["inside", "outside"] * 5 + ["inside"]),
            "mass": rng.random(11).astype("float32"),
        }
    )


@pytest.fixture
def calls(monkeypatch):
    """Count the proteins of each piece that is computed."""
    counts = []
    compute = embeddings.get_mean_embeddings

    def counted(sequences, *args, **kwargs):
        vectors = compute(sequences, *args, **kwargs)
        counts.append(len(vectors))
        return vectors

    monkeypatch.setattr(embeddings, "get_mean_embeddings", counted)
    return counts


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_table_comes_back_with_its_vectors(tmp_path, table, tokenizer_and_model, capsys):
    prefix = tmp_path / "train"
    path = store_sequence_embeddings(table, str(prefix), *tokenizer_and_model, piece_size=4)
    assert path == tmp_path / FOLDER
    loaded = load_sequence_embeddings(str(prefix), NAME)
    columns = [f"ME:{i}" for i in range(1, 33)]
    assert list(loaded.columns) == [*table.columns, *columns]
    pd.testing.assert_frame_equal(loaded[table.columns], table)
    assert (loaded[columns].dtypes == np.float32).all()
    expected = get_mean_embeddings(table["Sequence"], *tokenizer_and_model, "cpu")
    np.testing.assert_allclose(loaded[columns], expected, rtol=0, atol=1e-5)
    assert capsys.readouterr() == ("", "")  # a page's output does not depend on the cache
    assert len(files(path)) == 3 * 2 + 1


def test_the_dataset_module_has_the_books_names():
    assert dataset.store_sequence_embeddings is store_sequence_embeddings
    assert dataset.load_sequence_embeddings is load_sequence_embeddings
    assert dataset.get_mean_embeddings is get_mean_embeddings


def test_the_same_again_computes_nothing_and_says_nothing(
    tmp_path, table, tokenizer_and_model, calls, capsys
):
    def ask(**options):
        return store_sequence_embeddings(table, tmp_path / "train", *tokenizer_and_model, **options)

    before = files(ask(piece_size=4))
    assert calls == [4, 4, 3]
    # Neither the size of pieces and batches nor the index make a difference.
    table.index = table.index + 100
    assert files(ask(piece_size=5, batch_size=2, token_budget=50)) == before
    assert calls == [4, 4, 3] and capsys.readouterr() == ("", "")
    ask(force=True)
    assert calls == [4, 4, 3, 11]


def changed_weight(table, tokenizer, model):
    with torch.no_grad():
        model.encoder.layer[1].output.dense.bias[3] += 1e-3
    return {}


def changed_setting(table, tokenizer, model):
    model.config.token_dropout = False
    return {}


def changed_sequence(table, tokenizer, model):
    table.loc[10, "Sequence"] += "K"
    return {}


def changed_vocabulary(table, tokenizer, model):
    tokenizer.add_tokens(["J"])
    return {}


@pytest.mark.parametrize(
    ("change", "said", "computed"),
    [
        (changed_sequence, "sequences, columns: computing anew", [3]),
        (changed_weight, "model: computing anew", [4, 4, 3]),
        (changed_setting, "model: computing anew", [4, 4, 3]),
        (changed_vocabulary, "tokenizer: computing anew", [4, 4, 3]),
        (lambda *_: {"pooling": "all"}, "pooling: computing anew", [4, 4, 3]),
        (lambda *_: {"precision": "fast"}, "precision: computing anew", [4, 4, 3]),
        (lambda *_: {"long": "truncate"}, "long: computing anew", [4, 4, 3]),
    ],
)
def test_what_differs_is_noticed_and_said(
    tmp_path, table, tokenizer_and_model, calls, capsys, change, said, computed
):
    prefix = tmp_path / "train"
    store_sequence_embeddings(table, prefix, *tokenizer_and_model, piece_size=4)
    calls.clear()
    options = change(table, *tokenizer_and_model)
    folder = store_sequence_embeddings(table, prefix, *tokenizer_and_model, piece_size=4, **options)
    out = capsys.readouterr().out
    assert out == f"The embeddings in {folder} were kept for other {said}.\n"
    assert calls == computed  # pieces of unchanged proteins are not computed again
    vectors = load_sequence_embeddings(prefix, NAME).filter(like="ME:")
    expected = get_mean_embeddings(table["Sequence"], *tokenizer_and_model, "cpu", **options)
    np.testing.assert_allclose(vectors, expected, rtol=0, atol=1e-5)
    assert len(files(folder)) == 3 * 2 + 1  # what is no longer needed is gone


def test_other_columns_keep_the_vectors(tmp_path, table, tokenizer_and_model, calls, capsys):
    prefix = tmp_path / "train"
    store_sequence_embeddings(table, prefix, *tokenizer_and_model)
    table["GO:1"] = 1 - table["GO:1"]
    store_sequence_embeddings(table, prefix, *tokenizer_and_model)
    assert calls == [11]
    assert "for other columns: they stay, the table is replaced" in capsys.readouterr().out
    pd.testing.assert_frame_equal(load_sequence_embeddings(prefix, NAME)[table.columns], table)


def test_a_random_head_that_is_not_used_does_not_count(
    tmp_path, table, use_tiny_checkpoints, calls
):
    for masked in (False, True):
        tokenizer, model = load_language_model(NAME, masked=masked)
        with torch.no_grad():
            base = getattr(model, "esm", model)
            base.contact_head.regression.weight.normal_()
        store_sequence_embeddings(table, tmp_path / "train", tokenizer, model)
    assert calls == [11]


# --- cut off


def test_a_run_that_is_cut_off_goes_on_with_the_next_piece(
    tmp_path, table, tokenizer_and_model, calls, monkeypatch
):
    prefix, compute = tmp_path / "train", embeddings.get_mean_embeddings

    def interrupted(*args, **kwargs):
        if len(calls) == 2:
            raise KeyboardInterrupt
        return compute(*args, **kwargs)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(embeddings, "get_mean_embeddings", interrupted)
        store_sequence_embeddings(table, prefix, *tokenizer_and_model, piece_size=3)
    assert calls == [3, 3]
    with pytest.raises(FileNotFoundError, match="not finished; 2 pieces are there.*again"):
        load_sequence_embeddings(prefix, NAME)
    store_sequence_embeddings(table, prefix, *tokenizer_and_model, piece_size=3)
    assert calls == [3, 3, 3, 2]
    assert len(load_sequence_embeddings(prefix, NAME)) == 11


def fake_embeddings(log, seconds):
    """Stand in for the model, so that processes can be forked and are quick."""

    def fake(sequences, *args, names=None, **kwargs):
        time.sleep(seconds)
        with open(log, "a") as file:
            file.write(f"{names[0]}\n")
        sums = [sum(map(ord, s)) for s in sequences]
        return np.outer(sums, np.ones(8)).astype(np.float32)

    return fake


def in_process(*args, **kwargs):
    process = multiprocessing.get_context("fork").Process(
        target=store_sequence_embeddings, args=args, kwargs=kwargs
    )
    process.start()
    return process


def test_killed_at_any_instant_the_old_or_the_new_is_there_whole(
    tmp_path, table, tokenizer_and_model, monkeypatch
):
    fake = fake_embeddings(tmp_path / "log", 0.002)
    monkeypatch.setattr(embeddings, "get_mean_embeddings", fake)
    rng, prefix = random.Random(0), tmp_path / "train"

    def of(table):
        return fake(table["Sequence"], names=["check"])

    store_sequence_embeddings(table, prefix, *tokenizer_and_model, piece_size=2)
    old, finished = of(table), 0
    for _ in range(20):
        table = table.assign(Sequence=[s[1:] + s[:1] + "K" for s in table["Sequence"]])
        process = in_process(table, prefix, *tokenizer_and_model, piece_size=2)
        process.join(rng.random() * 0.15)
        process.kill()  # says nothing where the process has ended already
        process.join()
        found = load_sequence_embeddings(prefix, NAME).filter(like="ME:").to_numpy()
        whole = np.array_equal(found, of(table))
        assert whole or np.array_equal(found, old)
        old, finished = (of(table), finished + 1) if whole else (old, finished)
    assert finished < 20  # else the kills came too late to show anything
    store_sequence_embeddings(table, prefix, *tokenizer_and_model, piece_size=2)
    assert len(files(tmp_path / FOLDER)) == 6 * 2 + 1  # no stray files
    assert not list((tmp_path / FOLDER).glob("*.tmp"))


def test_a_killed_run_goes_on_with_the_piece_it_was_at(
    tmp_path, table, tokenizer_and_model, monkeypatch
):
    log, prefix = tmp_path / "log", tmp_path / "train"
    monkeypatch.setattr(embeddings, "get_mean_embeddings", fake_embeddings(log, 0.2))
    process = in_process(table, prefix, *tokenizer_and_model, piece_size=2)
    while len(list((tmp_path / FOLDER).glob("vectors-*.feather"))) < 2:
        assert process.is_alive()
        time.sleep(0.01)
    process.kill()
    process.join()
    done = len(list((tmp_path / FOLDER).glob("vectors-*.feather")))
    assert 2 <= done < 6
    log.write_text("")
    store_sequence_embeddings(table, prefix, *tokenizer_and_model, piece_size=2)
    assert log.read_text().split() == [f"P{i:05d}" for i in range(2 * done, 11, 2)]
    assert len(load_sequence_embeddings(prefix, NAME)) == 11


def test_of_two_processes_at_once_one_computes_and_the_other_waits(
    tmp_path, table, tokenizer_and_model, monkeypatch
):
    log = tmp_path / "log"
    monkeypatch.setattr(embeddings, "get_mean_embeddings", fake_embeddings(log, 0.05))
    args = (table, tmp_path / "train", *tokenizer_and_model)
    processes = [in_process(*args, piece_size=4) for _ in range(3)]
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert log.read_text().split() == ["P00000", "P00004", "P00008"]


# --- damage


@pytest.mark.parametrize("kind", ["vectors", "table"])
@pytest.mark.parametrize("damage", ["flipped", "cut", "empty"])
def test_a_damaged_piece_is_set_aside_named_and_computed_anew(
    tmp_path, table, tokenizer_and_model, calls, capsys, kind, damage
):
    prefix = tmp_path / "train"
    folder = store_sequence_embeddings(table, prefix, *tokenizer_and_model, piece_size=4)
    whole = load_sequence_embeddings(prefix, NAME)
    victim = sorted(folder.glob(f"{kind}-*"))[1]
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.write_bytes({"flipped": data, "cut": data[:-100], "empty": b""}[damage])
    with pytest.raises(ValueError, match=f"{victim.name} is damaged.*again"):
        load_sequence_embeddings(prefix, NAME)
    calls.clear()
    store_sequence_embeddings(table, prefix, *tokenizer_and_model, piece_size=4)
    out = capsys.readouterr().out
    assert f"{victim.name} is damaged. It was set aside as {victim.name}.1.damaged." in out
    assert len(calls) == (kind == "vectors")
    pd.testing.assert_frame_equal(load_sequence_embeddings(prefix, NAME), whole)
    capsys.readouterr()
    store_sequence_embeddings(table, prefix, *tokenizer_and_model, piece_size=4)
    assert capsys.readouterr().out == ""  # said once


def test_every_flipped_byte_is_noticed(tmp_path, table, tokenizer_and_model):
    prefix = tmp_path / "train"
    folder = store_sequence_embeddings(table[:2], prefix, *tokenizer_and_model)
    rng = random.Random(0)
    for file in folder.iterdir():
        data = file.read_bytes()
        for place in rng.sample(range(len(data)), 40):
            file.write_bytes(data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :])
            try:
                load_sequence_embeddings(prefix, NAME)
            except ValueError:
                continue
            # White space between the manifest's items carries nothing.
            assert file.name == "manifest.json" and data[place : place + 1].isspace()
        file.write_bytes(data)
    load_sequence_embeddings(prefix, NAME)


def test_a_damaged_manifest_costs_no_computing(tmp_path, table, tokenizer_and_model, calls, capsys):
    prefix = tmp_path / "train"
    folder = store_sequence_embeddings(table, prefix, *tokenizer_and_model)
    (folder / "manifest.json").write_text("{")
    with pytest.raises(ValueError, match="manifest.json is damaged"):
        load_sequence_embeddings(prefix, NAME)
    store_sequence_embeddings(table, prefix, *tokenizer_and_model)
    assert calls == [11] and "manifest.json is damaged. It is made anew" in capsys.readouterr().out
    load_sequence_embeddings(prefix, NAME)


def test_a_missing_piece_is_computed_anew(tmp_path, table, tokenizer_and_model, calls, capsys):
    prefix = tmp_path / "train"
    folder = store_sequence_embeddings(table, prefix, *tokenizer_and_model, piece_size=4)
    sorted(folder.glob("vectors-*"))[0].unlink()
    with pytest.raises(ValueError, match="is missing"):
        load_sequence_embeddings(prefix, NAME)
    store_sequence_embeddings(table, prefix, *tokenizer_and_model, piece_size=4)
    assert len(calls) == 4 and "Part of the embeddings" in capsys.readouterr().out


def test_a_store_of_a_later_version_is_left_alone(tmp_path, table, tokenizer_and_model):
    from dlfb.utils import pieces

    prefix = tmp_path / "train"
    folder = store_sequence_embeddings(table, prefix, *tokenizer_and_model)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "FORMAT", 99)
        pieces.write_manifest(folder, {"something": "else"})
    before = files(folder)
    for act in (
        lambda: load_sequence_embeddings(prefix, NAME),
        lambda: store_sequence_embeddings(table, prefix, *tokenizer_and_model),
    ):
        with pytest.raises(ValueError, match="by a later version"):
            act()
    assert files(folder) == before


def test_a_crafted_manifest_does_not_lead_out_of_the_folder(tmp_path, table, tokenizer_and_model):
    from dlfb.utils import pieces

    folder = store_sequence_embeddings(table, tmp_path / "train", *tokenizer_and_model)
    names = [f"../{pieces.write_piece(tmp_path, kind, table)}" for kind in ("table", "vectors")]
    pieces.write_manifest(folder, {"asked": {}, "pieces": [names]})
    with pytest.raises(ValueError, match="manifest.json is damaged"):
        load_sequence_embeddings(tmp_path / "train", NAME)


def test_a_disk_that_is_full_is_a_sentence_and_loses_nothing(
    tmp_path, table, tokenizer_and_model, calls, monkeypatch
):
    from dlfb.utils import pieces

    replacing, written = pieces.replacing, []

    def full(path):
        if len(written) == 3:
            raise OSError(28, "No space left on device")
        written.append(path)
        return replacing(path)

    prefix = tmp_path / "train"
    with monkeypatch.context() as patch, pytest.raises(OSError, match="can't be kept.*No space"):
        patch.setattr(pieces, "replacing", full)
        store_sequence_embeddings(table, prefix, *tokenizer_and_model, piece_size=4)
    store_sequence_embeddings(table, prefix, *tokenizer_and_model, piece_size=4)
    assert calls == [4, 4, 3]


# --- what is asked wrongly, or is not there


def test_nothing_kept_is_a_sentence(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"No embeddings by .*8M.* store_sequence_emb"):
        load_sequence_embeddings(tmp_path / "train", NAME)


def test_wrong_tables_are_refused(tmp_path, table, tokenizer_and_model):
    with pytest.raises(ValueError, match="no column 'Sequence'; it has EntryID, Length"):
        wrong = table.drop(columns="Sequence")
        store_sequence_embeddings(wrong, tmp_path / "train", *tokenizer_and_model)
    with pytest.raises(ValueError, match="columns 'ME:...' already"):
        wrong = table.assign(**{"ME:1": 0.0})
        store_sequence_embeddings(wrong, tmp_path / "train", *tokenizer_and_model)
    table.loc[9, "Sequence"] = "MA1"
    with pytest.raises(ValueError, match="P00009.*'1' at position 3"):
        store_sequence_embeddings(table, tmp_path / "train", *tokenizer_and_model)
    with pytest.raises(ValueError, match="row 9.*'1' at position 3"):
        wrong = table.drop(columns="EntryID")
        store_sequence_embeddings(wrong, tmp_path / "train", *tokenizer_and_model)
    assert files(tmp_path) == []


def test_wrong_options_are_refused_even_where_all_is_kept(tmp_path, table, tokenizer_and_model):
    store_sequence_embeddings(table, tmp_path / "train", *tokenizer_and_model)
    with pytest.raises(ValueError, match="no pooling='max'"):
        store_sequence_embeddings(table, tmp_path / "train", *tokenizer_and_model, pooling="max")
    with pytest.raises(TypeError, match="poling"):
        store_sequence_embeddings(table, tmp_path / "train", *tokenizer_and_model, poling="all")


def test_a_model_without_a_name_is_refused(tmp_path, table, tokenizer_and_model):
    tokenizer, model = tokenizer_and_model
    del model.dlfb_checkpoint
    model.config._name_or_path = ""
    with pytest.raises(ValueError, match="no name to keep embeddings under"):
        store_sequence_embeddings(table, tmp_path / "train", tokenizer, model)


def test_a_table_without_rows_is_kept_too(tmp_path, table, tokenizer_and_model):
    store_sequence_embeddings(table[:0], tmp_path / "train", *tokenizer_and_model)
    assert load_sequence_embeddings(tmp_path / "train", NAME).shape == (0, 6 + 32)


def test_a_finished_store_can_be_read_only(tmp_path, table, tokenizer_and_model, monkeypatch):
    store_sequence_embeddings(table, tmp_path / "train", *tokenizer_and_model)

    def refuse(*_):
        raise AssertionError("a finished store needs neither lock nor writing")

    monkeypatch.setattr(embedding_store.store, "locked", refuse)
    monkeypatch.setattr(embedding_store.pieces, "replacing", refuse)
    store_sequence_embeddings(table, tmp_path / "train", *tokenizer_and_model)
    load_sequence_embeddings(tmp_path / "train", NAME)


# --- the book's single file


@pytest.mark.parametrize("name", [f"{FOLDER}.feather", "train_esm2_t6_8M_UR50D.feather"])
def test_a_file_in_the_books_layout_is_taken_and_that_is_said(
    tmp_path, table, tokenizer_and_model, calls, capsys, name
):
    given = table.assign(**{"ME:1": np.float32(1), "ME:2": np.float32(2)})
    given.to_feather(tmp_path / name)
    prefix = tmp_path / "train"
    pd.testing.assert_frame_equal(load_sequence_embeddings(prefix, NAME), given)
    said = capsys.readouterr().out
    assert name in said and said.endswith("not checked.\n") and said.count("\n") == 1
    assert store_sequence_embeddings(table, prefix, *tokenizer_and_model) == tmp_path / name
    assert capsys.readouterr().out == said and calls == []
    # Of other proteins, or told to: computed, and from then on what was computed counts.
    store_sequence_embeddings(table[1:], prefix, *tokenizer_and_model)
    assert "of other proteins" in capsys.readouterr().out and calls == [10]
    assert load_sequence_embeddings(prefix, NAME).shape == (10, 6 + 32)
    assert capsys.readouterr().out == ""


def test_a_book_file_that_is_none_is_a_sentence(tmp_path, table):
    file = tmp_path / f"{FOLDER}.feather"
    table.to_feather(file)
    with pytest.raises(ValueError, match="no column 'ME:1'"):
        load_sequence_embeddings(tmp_path / "train", NAME)
    file.write_bytes(b"nothing")
    with pytest.raises(ValueError, match="can't be read as a Feather file"):
        load_sequence_embeddings(tmp_path / "train", NAME)


# --- FASTA


@pytest.mark.parametrize("compressed", [False, True])
def test_a_fasta_file_is_embedded_in_pieces(
    tmp_path, table, tokenizer_and_model, calls, capsys, compressed
):
    fasta = tmp_path / "proteome.fasta"
    text = "".join(f">sp|{i}|X some protein\n{s}\n" for i, s in table.iloc[:, :2].to_numpy())
    fasta.write_bytes(gzip.compress(text.encode()) if compressed else text.encode())
    folder = embed_fasta(fasta, tmp_path / "mine", *tokenizer_and_model, piece_size=4)
    assert calls == [4, 4, 3]
    loaded = load_sequence_embeddings(tmp_path / "mine", NAME)
    expected = table[["EntryID", "Sequence", "Length"]]
    assert list(loaded.columns[:3]) == list(expected.columns) and loaded.shape == (11, 3 + 32)
    assert (loaded["EntryID"] == table["EntryID"]).all()
    assert (loaded["Length"] == table["Length"]).all()
    vectors = get_mean_embeddings(table["Sequence"], *tokenizer_and_model, "cpu")
    np.testing.assert_allclose(loaded.filter(like="ME:"), vectors, rtol=0, atol=1e-5)
    calls.clear()
    embed_fasta(fasta, tmp_path / "mine", *tokenizer_and_model, piece_size=4)
    assert calls == [] and capsys.readouterr().out == ""
    # Grown at its end: the pieces before stay.
    fasta.write_text(text + ">last\nMALWM\n")
    embed_fasta(fasta, tmp_path / "mine", *tokenizer_and_model, piece_size=4)
    assert calls == [4] and f"{folder} were kept for other sequences" in capsys.readouterr().out


def test_the_memory_for_a_fasta_file_does_not_grow_with_it(
    tmp_path, tokenizer_and_model, monkeypatch
):
    monkeypatch.setattr(embeddings, "get_mean_embeddings", fake_embeddings(tmp_path / "log", 0))

    def peak(proteins, name):
        with open(tmp_path / f"{name}.fasta", "w") as file:
            for i in range(proteins):
                # Of one length, so that pieces take the same room; each protein another.
                residues = "".join(AMINO_ACIDS[(i // 20**k) % 20] for k in range(5))
                file.write(f">P{i:07d}\n{residues * 12}\n")
        tracemalloc.start()
        embed_fasta(tmp_path / f"{name}.fasta", tmp_path / name, *tokenizer_and_model,
                    piece_size=100)  # fmt: skip
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(200, "warm")  # what is imported at the first call
    few, many = peak(400, "few"), peak(8000, "many")
    # The names of the pieces are all that adds up, less than two kilobytes for each; the
    # proteins themselves would be a megabyte.
    assert many < few + 76 * 2000 < 2 * few
    assert len(load_sequence_embeddings(tmp_path / "many", NAME)) == 8000
