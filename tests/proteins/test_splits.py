"""Dividing proteins: whole groups on one side, the same sizes and splits every time."""

import functools
import os
import subprocess
import sys
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest
from hypothesis import given

from dlfb.proteins.splits import Split, build_dataset, split_proteins

ROOT = Path(__file__).parents[2]


def proteins_of(sequences):
    ids = [f"P{i:05d}" for i in range(len(sequences))]
    return pd.DataFrame({"EntryID": ids, "Sequence": sequences, "GO:0000001": 1})


def test_split_sizes_are_the_chapter_s():
    splits = split_proteins(proteins_of([str(i) for i in range(5957)]))
    assert [len(split) for split in splits.values()] == [3574, 1191, 1192]


@given(
    sequences=st.lists(st.integers(0, 12).map(str), max_size=40),
    fractions=st.sampled_from([(0.6, 0.2, 0.2), (1 / 3,) * 3, (1, 0, 0), (0, 0.5, 0.5)]),
    seed=st.integers(0, 2**32 - 1),
    shuffle=st.randoms(use_true_random=False),
)
def test_split_properties(sequences, fractions, seed, shuffle):
    table = proteins_of(sequences)
    splits = split_proteins(table, fractions, seed)
    assert list(splits) == ["train", "valid", "test"]
    # Every protein is in one split, its row unchanged, and rows are in order.
    joined = pd.concat(splits.values()).sort_values("EntryID", ignore_index=True)
    pd.testing.assert_frame_equal(joined, table)
    assert all(split["EntryID"].is_monotonic_increasing for split in splits.values())
    # No sequence is on two sides.
    sides = [set(split["Sequence"]) for split in splits.values()]
    assert sum(map(len, sides)) == len(set.union(*sides))
    # As close to the fractions as the groups allow.
    sizes = pd.Series(sequences, dtype=object).value_counts()
    largest, singles = sizes.max() if len(sizes) else 0, int((sizes == 1).sum())
    slack = 1 if 2 * largest <= singles else 2 * largest + 1
    for split, fraction in zip(splits.values(), fractions, strict=True):
        assert abs(len(split) - fraction * len(table)) <= slack
    # Whatever the order of the rows.
    order = list(range(len(table)))
    shuffle.shuffle(order)
    again = split_proteins(table.iloc[order], fractions, seed)
    for name in splits:
        pd.testing.assert_frame_equal(again[name], splits[name])


def test_split_puts_groups_of_every_size_everywhere():
    table = proteins_of([str(i // 2) if i < 6 else str(i) for i in range(30)])
    shares = []
    for seed in range(200):
        splits = split_proteins(table, seed=seed)
        assert [len(s) for s in splits.values()] == [18, 6, 6]
        shares.append(np.isin(["P00000", "P00029"], splits["train"]["EntryID"]))
    # Whether it is one of two or alone, a protein is in train with the probability 0.6.
    assert np.abs(np.mean(shares, axis=0) - 0.6).max() < 0.1


def test_split_is_a_matter_of_its_seed_and_not_of_python_s_hash_seed():
    code = """if True:
        import pandas as pd
        from dlfb.proteins.splits import split_proteins
        ids = list({f"P{i}" for i in range(300)})
        table = pd.DataFrame({"EntryID": ids, "Sequence": [i[:3] for i in ids]})
        for seed in (1, 2):
            print([list(split["EntryID"]) for split in split_proteins(table, seed=seed).values()])
    """
    run = functools.partial(subprocess.check_output, [sys.executable, "-c", code], cwd=ROOT)
    printed = [run(env={**os.environ, "PYTHONHASHSEED": seed}) for seed in ("0", "1")]
    assert printed[0] == printed[1]
    first, second = printed[0].splitlines()
    assert first != second


def test_split_refuses_what_it_can_not_divide():
    table = proteins_of(["A", "B"])
    for change in ({"Sequence": ["A", None]}, {"Sequence": [["M"], "A"]}, {"EntryID": "P1"}):
        with pytest.raises(ValueError, match=r"split_proteins\(\): .*(Sequence|EntryID)"):
            split_proteins(table.assign(**change))
    with pytest.raises(ValueError, match="no column 'Sequence'"):
        split_proteins(table[["EntryID"]])
    with pytest.raises(ValueError, match="groups: this is a list. Pass a dictionary"):
        split_proteins(table, groups=[1])
    with pytest.raises(ValueError, match="no group for 1 of 2 proteins, such as 'P00001'"):
        split_proteins(table, groups={"P00000": 1})
    for fractions in ((0.5, 0.5), (0.6, 0.2, 0.3), (1.2, -0.1, -0.1)):
        with pytest.raises(ValueError, match="three numbers"):
            split_proteins(table, fractions)


def test_split_keeps_groups_and_sequences_together():
    table = proteins_of([str(i // 2) for i in range(60)])
    # Every third protein shares a group with the protein nine places on: chains of both kinds.
    groups = {p: f"c{i % 9 if i % 3 == 0 else i}" for i, p in enumerate(table["EntryID"])}
    splits = split_proteins(table, groups=groups)
    side = {p: name for name, split in splits.items() for p in split["EntryID"]}
    assert len(side) == 60 and len(set(side.values())) > 1
    for key in (table["EntryID"].map(groups), table["Sequence"]):
        assert (table["EntryID"].map(side).groupby(key.to_numpy()).nunique() == 1).all()
    # Groups without effect change nothing, in whatever form they come.
    alone = pd.Series(range(60), index=table["EntryID"])
    for name, split in split_proteins(table, groups=alone).items():
        pd.testing.assert_frame_equal(split, split_proteins(table)[name])


def test_batches_hold_every_protein_once_and_in_order():
    x, y = np.arange(280).reshape(70, 4), np.arange(210).reshape(70, 3)
    split = Split(embeddings=x, targets=y, ids=np.arange(70), terms=np.arange(3))
    batches = list(split.batch(32).as_numpy_iterator())
    assert [len(b["target"]) for b in batches] == [32, 32, 6]
    assert (np.concatenate([b["embedding"] for b in batches]) == x).all()
    assert (np.concatenate([b["target"] for b in batches]) == y).all()
    with pytest.raises(ValueError, match="size must be a whole number, 1 or more"):
        split.batch(0)


@pytest.fixture
def stored(monkeypatch):
    """Tables that seem to have been stored with embeddings, by prefix."""
    tables = {}
    for split, size in {"train": 6, "valid": 2, "test": 3}.items():
        table = proteins_of([split + str(i) for i in range(size)]).assign(Length=5)
        table["seen in liver"] = np.arange(size, dtype=np.int8) % 2
        for d in range(1, 12):
            table[f"ME:{d}"] = np.float32(d) + np.arange(size) / 100
        tables[f"here_{split}"] = table
    load = "dlfb.proteins.splits.load_sequence_embeddings"
    monkeypatch.setattr(load, lambda prefix, model: tables[prefix])
    return tables


def test_build_dataset_joins_targets_of_any_name_with_embeddings(stored):
    stored["here_train"]["GO:0000001"] = pd.array([1, 0, None, 1, 0, None], dtype="Int8")
    splits = build_dataset("here", "m")
    assert {name: len(s) for name, s in splits.items()} == {"train": 6, "valid": 2, "test": 3}
    train = splits["train"]
    assert train.embeddings.dtype == train.targets.dtype == np.float32
    assert train.embeddings.flags.c_contiguous and train.targets.flags.c_contiguous
    assert train.ids[1] == "P00001" and train.terms.tolist() == ["GO:0000001", "seen in liver"]
    # ME:1 ... ME:11 in the order of the store, not of the alphabet.
    assert train.embeddings[1].tolist() == pytest.approx([d + 0.01 for d in range(1, 12)])
    np.testing.assert_array_equal(train.targets[:, 0], [1, 0, np.nan, 1, 0, np.nan])
    assert train.targets[:, 1].tolist() == [0, 1] * 3


@pytest.mark.parametrize(("change", "message"), [
    (lambda t: t.rename(columns={"GO:0000001": "GO:3"}), "other terms than the train split"),
    (lambda t: t[["EntryID", "Length", "ME:1"]], "has no targets"),
    (lambda t: t.assign(**{"GO:0000001": list("abc")}), "targets must be 0, 1, or NaN"),
    (lambda t: t.drop(columns="EntryID"), "no column 'EntryID'"),
])  # fmt: skip
def test_build_dataset_refuses_what_is_no_data_set(stored, change, message):
    stored["here_test"] = change(stored["here_test"])
    with pytest.raises(ValueError, match=f"the test split stored at here_test.*{message}"):
        build_dataset("here", "m")


def test_build_dataset_without_embeddings_says_how_to_make_them(tmp_path):
    with pytest.raises(FileNotFoundError, match="x/y .*mine_train.*store_sequence_embeddings"):
        build_dataset(tmp_path / "mine", model_checkpoint="x/y")
