"""Embeddings on disk: computed once, found again by sequence, whole whatever happens."""

import contextlib
import multiprocessing
import os
import random
import shutil
import time
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
import torch

from dlfb.proteins import embedding_store
from dlfb.proteins.embedding_store import load_sequence_embeddings, store_sequence_embeddings
from dlfb.proteins.embeddings import get_mean_embeddings
from dlfb.proteins.language_model import load_language_model
from dlfb.proteins.sequences import AMINO_ACIDS

NAME = "facebook/esm2_t6_8M_UR50D"
FOLDER = "train_facebook_esm2_t6_8M_UR50D"


@pytest.fixture
def tokenizer_and_model(use_tiny_checkpoints):
    return load_language_model(NAME)


@pytest.fixture
def table():
    """Return 11 proteins, two of them alike."""
    rng = np.random.default_rng(0)
    sequences = ["".join(rng.choice(AMINO_ACIDS, n)) for n in rng.integers(5, 40, 11)]
    sequences[7] = sequences[2]
    terms = rng.integers(0, 2, 11).astype("int8")
    ids = [f"P{i:05d}" for i in range(11)]
    return pd.DataFrame({"EntryID": ids, "Sequence": sequences, "GO:1": terms})


@pytest.fixture(autouse=True)
def calls(monkeypatch):
    """Make pieces of four proteins, and count the proteins of each that is computed."""
    counts, compute = [], embedding_store.mean_states

    def counted(sequences, *args, **kwargs):
        counts.append(len(sequences))
        return compute(sequences, *args, **kwargs)

    monkeypatch.setattr(embedding_store, "PIECE", 4)
    monkeypatch.setattr(embedding_store, "mean_states", counted)
    return counts


@pytest.fixture
def ask(tmp_path, table, tokenizer_and_model):
    """Return a function that stores a table's embeddings."""
    return lambda table=table, **options: store_sequence_embeddings(
        table, tmp_path / "train", *tokenizer_and_model, **options
    )


@pytest.fixture
def loaded(tmp_path):
    return lambda: load_sequence_embeddings(tmp_path / "train", NAME)


@pytest.fixture
def check(loaded, tokenizer_and_model):
    """Return a function that compares what is kept with the vectors of a table."""

    def check(table, atol=1e-5, **options):
        expected = get_mean_embeddings(table["Sequence"], *tokenizer_and_model, "cpu", **options)
        found = loaded()
        pd.testing.assert_frame_equal(found[table.columns], table.reset_index(drop=True))
        assert list(found.columns[len(table.columns) :]) == [f"ME:{i}" for i in range(1, 33)]
        vectors = found.filter(like="ME:")
        assert (vectors.dtypes == np.float32).all()
        np.testing.assert_allclose(vectors, expected, rtol=0, atol=atol)

    return check


def files(folder):
    return sorted(name for name in os.listdir(folder) if not name.endswith(".lock"))


def test_the_table_comes_back_with_its_vectors_and_is_computed_once(
    ask, table, check, calls, capsys
):
    folder = ask()
    before = files(folder)
    assert folder.name == FOLDER and len(before) == 3 + 1
    check(table)
    # Neither the size of batches nor the index makes a difference.
    table.index = table.index + 100
    assert files(ask(table, batch_size=2, token_budget=50)) == before
    assert calls == [4, 4, 2]
    assert capsys.readouterr() == ("", "")  # a page's output does not depend on the cache
    ask(force=True)
    assert calls == 2 * [4, 4, 2]


def changed_weight(model):
    with torch.no_grad():
        model.encoder.layer[1].output.dense.bias[3] += 1e-3


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (changed_weight, "the model"),
        (lambda model: setattr(model.config, "token_dropout", False), "the model"),
        ({"pooling": "all"}, "the option 'pooling'"),
        ({"precision": "fast"}, "the option 'precision'"),
    ],
)
def test_what_differs_is_noticed_and_said(
    ask, check, table, tokenizer_and_model, calls, capsys, change, said
):
    ask()
    options = change if isinstance(change, dict) else change(tokenizer_and_model[1]) or {}
    folder = ask(**options)
    assert capsys.readouterr().out == (
        f"the table of embeddings is computed anew: {said} changed since the result in index.dlfb "
        "was kept.\n"
    )
    assert calls == 2 * [4, 4, 2] and len(files(folder)) == 4  # what is not needed is gone
    check(table, 2e-2 if "precision" in options else 1e-5, **options)


def test_one_protein_more_costs_one_protein(ask, check, table, calls):
    ask()
    calls.clear()
    first = pd.DataFrame({"EntryID": ["new"], "Sequence": ["MALWM"], "GO:1": np.int8([0])})
    longer = pd.concat([first, table], ignore_index=True)[::-1]
    ask(longer)
    check(longer)
    # Fewer, or other columns, cost nothing.
    ask(table[3:9].assign(extra=1))
    check(table[3:9].assign(extra=1))
    assert calls == [1]


def test_a_random_head_that_is_not_used_does_not_count(tmp_path, table, calls):
    for masked in (False, True):
        tokenizer, model = load_language_model(NAME, masked=masked)
        with torch.no_grad():
            getattr(model, "esm", model).contact_head.regression.weight.normal_()
        store_sequence_embeddings(table, tmp_path / "train", tokenizer, model)
    assert calls == [4, 4, 2]


# Interrupted, killed, at once


def test_a_run_that_ends_with_a_full_disk_continues_with_the_next_piece(
    ask, loaded, check, table, calls, monkeypatch
):
    write = embedding_store.store.write

    def full(*args):
        if len(calls) == 3:
            raise OSError(28, "No space left on device")
        write(*args)

    with monkeypatch.context() as patch:
        patch.setattr(embedding_store.store, "write", full)
        with pytest.raises(OSError, match="Embeddings can't be kept at .*No space left"):
            ask()
    with pytest.raises(FileNotFoundError, match="No finished.*8M.*store_sequence_emb.*continues"):
        loaded()
    ask()
    check(table)
    assert calls == [4, 4, 2, 2]


@pytest.fixture
def fake_states(monkeypatch, tmp_path):
    """Replace the model, so that processes can be forked and are quick."""

    def fake(sequences, *_, **__):
        time.sleep(fake.seconds)
        with open(tmp_path / "log", "a") as file:
            file.write(f"{len(sequences)}\n")
        return np.outer([sum(map(ord, s)) for s in sequences], np.ones(32)).astype(np.float32)

    fake.seconds = 0
    monkeypatch.setattr(embedding_store, "mean_states", fake)
    # Forked processes share the lock of tqdm's bars, which one that is killed may hold for ever.
    monkeypatch.setattr(embedding_store, "progress", lambda **_: contextlib.nullcontext(Mock()))
    return fake


def in_process(*args):
    process = multiprocessing.get_context("fork").Process(
        target=store_sequence_embeddings, args=args
    )
    process.start()
    return process


def test_killed_at_any_instant_the_old_or_the_new_is_there_whole(
    ask, loaded, tmp_path, table, tokenizer_and_model, fake_states
):
    start = time.perf_counter()
    folder = ask()
    one = time.perf_counter() - start
    old, seen, rng = fake_states(table["Sequence"]), set(), random.Random(0)
    for _ in range(30):
        table = table.assign(Sequence=[s[1:] + s[:1] + "K" for s in table["Sequence"]])
        process = in_process(table, tmp_path / "train", *tokenizer_and_model)
        process.join(rng.random() * 1.5 * one)
        process.kill()  # does nothing where the process has ended already
        process.join()
        found = loaded().filter(like="ME:").to_numpy()
        new = np.array_equal(found, fake_states(table["Sequence"]))
        assert new or np.array_equal(found, old)
        seen.add(new)
        old = found
    assert False in seen  # otherwise the kills came too late to show anything
    ask(table)
    assert len(os.listdir(folder)) == 1 + 4  # the lock; nothing else is left


def test_what_killed_runs_left_goes_at_the_next_call(ask):
    folder = ask()
    before = files(folder)
    stem, _ = before[0].split("-")
    for left in (f"{stem}-{'1' * 16}.dlfb", f"{'0' * 16}-{'1' * 16}.dlfb", ".gone.dlfb.tmp"):
        shutil.copy(folder / before[0], folder / left)
    (folder / "readers_own.dlfb").touch()
    ask()
    assert files(folder) == [*before, "readers_own.dlfb"]


def test_of_three_processes_at_once_one_computes_and_the_others_wait(
    tmp_path, table, tokenizer_and_model, fake_states
):
    fake_states.seconds = 0.05
    processes = [in_process(table, tmp_path / "train", *tokenizer_and_model) for _ in range(3)]
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert (tmp_path / "log").read_text().split() == ["4", "4", "2"]


# Damage


@pytest.mark.parametrize("victim", ["index.dlfb", 1])
@pytest.mark.parametrize("damage", ["flipped", "cut", "gone"])
def test_what_is_damaged_is_set_aside_named_and_made_anew(
    ask, loaded, check, table, calls, capsys, victim, damage
):
    folder = ask()
    victim = folder / (files(folder)[1] if victim == 1 else victim)
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.write_bytes(data[:-100] if damage == "cut" else data)
    if damage == "gone":
        victim.unlink()
    with pytest.raises((ValueError, FileNotFoundError), match="store_sequence_embeddings"):
        loaded()
    calls.clear()
    ask()
    aside = f"It was set aside as {victim.name}.damaged"
    assert (aside in capsys.readouterr().out) == (damage != "gone")
    assert len(calls) == (victim.name != "index.dlfb")
    check(table)
    ask()
    assert capsys.readouterr().out == ""  # said once


# What is refused


def test_a_model_without_a_name_is_refused(ask, tokenizer_and_model):
    tokenizer_and_model[1].dlfb_checkpoint = tokenizer_and_model[1].name_or_path = ""
    with pytest.raises(ValueError, match="no name to keep embeddings under"):
        ask()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.drop(columns="Sequence"), "no column 'Sequence'; it has EntryID, GO:1"),
        (lambda t: list(t["Sequence"]), "pass a table .* not a list"),
        (lambda t: t.assign(**{"ME:1": 0.0}), "drop the columns 'ME:...'"),
        (lambda t: t.assign(Sequence=["MAL"] * 10 + ["MA1"]), "P00010.*'1' at position 3"),
        (lambda t: t[["Sequence"]].assign(Sequence=["M"] * 10 + ["J"]), "row 10.*'J' at position"),
        (lambda t: t.assign(EntryID="P1"), "different.*one EntryID: the id 'P1' occurs"),
        (lambda t: t.assign(species=[9606, "unknown", None] + [1] * 8), "column species"),
        (lambda t: t.assign(terms=[[]] * 11), "cells of list.*column terms"),
    ],
)
def test_wrong_tables_are_refused_before_anything_is_embedded(
    ask, table, calls, tmp_path, change, said
):
    with pytest.raises(ValueError, match=said):
        ask(change(table))
    assert calls == [] and not (tmp_path / FOLDER).exists()


def test_a_table_without_rows_is_kept_too(ask, loaded, table):
    ask(table[:0])
    assert loaded().shape == (0, 3 + 32)
