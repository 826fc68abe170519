"""The chapter's counts on the proteins that come with dlfb, recomputed with pandas alone."""

import contextlib
import io
from pathlib import Path

import pandas as pd
import pytest

from dlfb.proteins import dataset
from dlfb.utils.context import assets


@pytest.fixture(scope="module")
def real():
    """Our table, its splits, and what was printed on the way."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        table = dataset.function_table()
    return table, dataset.split_proteins(table), printed.getvalue().splitlines()


@pytest.fixture(scope="module")
def oracle():
    """The chapter's steps, each as plainly as pandas can say it, and their counts."""
    files = Path(assets("proteins/datasets/go-basic.obo")).parent
    read = {"sep": "\t", "dtype": "str"}
    terms = pd.read_csv(files / "train_terms.tsv.zip", **read)
    taxonomy = pd.read_csv(files / "train_taxonomy.tsv.zip", **read)
    records = (files / "train_sequences.fasta").read_text().split(">")[1:]
    sequences = pd.DataFrame(
        [(r.split(None, 1)[0], "".join(r.split("\n")[1:])) for r in records],
        columns=["EntryID", "Sequence"],
    )
    obo = (files / "go-basic.obo").read_text().split("[Term]")[1:]
    live = [stanza for stanza in obo if "is_obsolete: true" not in stanza]
    names = pd.DataFrame({"term": [stanza.split("id: ")[1].split("\n")[0] for stanza in live]})

    def size(frame):
        return len(frame), frame["EntryID"].nunique(), frame["term"].nunique()

    human_ids = taxonomy.query("taxonomyID == '9606'")["EntryID"]
    counts = {"go": len(names), "taxa": (len(taxonomy), len(human_ids))}
    counts["sequences"] = len(sequences), sequences["Sequence"].str.len().sum()
    counts["aspects"] = terms["aspect"].value_counts().to_dict()
    molecular = terms[terms["aspect"] == "MFO"]
    counts["mfo"] = size(molecular)
    molecular = molecular.merge(names, on="term")
    counts["named"] = size(molecular)
    human = molecular[molecular["EntryID"].isin(human_ids)]
    counts["human"] = size(human)
    telling = human[~human["term"].isin(["GO:0003674", "GO:0005488", "GO:0005515"])]
    counts["telling"] = size(telling)
    common = telling[telling.groupby("term")["EntryID"].transform("nunique") >= 50]
    counts["common"] = size(common)
    wide = pd.crosstab(common["EntryID"], common["term"]).reset_index()
    wide = sequences.merge(wide, on="EntryID").sort_values("EntryID", ignore_index=True)
    counts["table"] = (len(wide), len(wide.columns) + 1, wide["Sequence"].nunique())
    places = terms[(terms["aspect"] == "CCO") & terms["EntryID"].isin(human_ids)]
    places = places[~places["term"].isin(["GO:0005575", "GO:0110165"])]
    only = places[~places["EntryID"].duplicated(keep=False)].merge(sequences, on="EntryID")
    only = only[only["Sequence"].str.len().between(100, 500)]
    for place in ("GO:0005576", "GO:0016020"):
        counts[place] = sorted(only["EntryID"][only["term"] == place])
    return wide[wide["Sequence"].str.len() <= 500].reset_index(drop=True), counts


def test_what_the_data_say_of_themselves(oracle):
    """The counts that the data set's own description gives."""
    short, counts = oracle
    assert counts["aspects"] == {"BPO": 582_015, "CCO": 244_331, "MFO": 143_838}
    assert counts["taxa"] == (16_020, 15_660)
    assert counts["sequences"] == (16_020, 9_409_796)
    assert counts["human"] == (139_782, 14_122, 4_079)
    assert counts["common"][1:] == (9_911, 292)
    assert counts["table"] == (9_911, 295, 9_907)
    assert len(short) == 5_435
    assert [len(counts[place]) for place in ("GO:0005576", "GO:0016020")] == [163, 47]


def test_table_equals_the_oracle_s(real, oracle):
    table, expected = real[0], oracle[0]
    assert list(table.columns) == ["EntryID", "Sequence", "Length", *expected.columns[2:]]
    assert (table.dtypes.iloc[3:] == "int8").all()
    assert table["EntryID"].tolist() == expected["EntryID"].tolist()
    assert table["Sequence"].tolist() == expected["Sequence"].tolist()
    assert (table.iloc[:, 3:].to_numpy() == expected.iloc[:, 2:].to_numpy()).all()


def test_every_step_says_the_oracle_s_counts(real, oracle):
    lines, (short, counts) = real[2], oracle

    def step(name):
        rows, proteins, terms = counts[name]
        return f"{rows:,} rows, {proteins:,} proteins, {terms:,} terms"

    rows = [counts[name][0] for name in ("mfo", "named", "human", "telling", "common")]
    lost = [f"{a - b:,} rows dropped" for a, b in zip(rows, rows[1:], strict=False)]
    assert lines[0] == f"Annotation, MFO: {step('mfo')}"
    assert f"{counts['go']:,} terms: {rows[1]:,} of {rows[0]:,} rows named; dropped: n" in lines[1]
    assert f"{step('human')}; {lost[1]}" in lines[2]
    assert f"{step('telling')}; {lost[2]}" in lines[3]
    assert f"{step('common')}; {lost[3]}" in lines[4]
    height, width, distinct = counts["table"]
    assert lines[5] == f"Table: {height:,} x {width}; {distinct:,} distinct sequences"
    assert lines[6].startswith(f"At most 500 residues: {len(short):,} proteins; ")
    assert len(lines) == 7


def test_proteins_of_one_place(oracle):
    for place in ("GO:0005576", "GO:0016020"):
        assert dataset.proteins_at(place)["EntryID"].tolist() == oracle[1][place]
    # A place that lies inside others, so that no protein has the term alone.
    assert len(dataset.proteins_at("GO:0005739")) > 40


def test_splits_of_real_proteins(real):
    table, splits, _ = real
    assert [len(split) for split in splits.values()] == [3261, 1087, 1087]
    sides = pd.concat([s["Sequence"].to_frame().assign(side=n) for n, s in splits.items()])
    assert (sides.groupby("Sequence")["side"].nunique() == 1).all()
    assert table["Sequence"].duplicated().any()
