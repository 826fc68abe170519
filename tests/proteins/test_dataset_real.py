"""The chapter's counts on the proteins that come with dlfb, recomputed with pandas alone."""

from pathlib import Path

import pandas as pd
import pytest

from dlfb.proteins import dataset
from dlfb.utils.context import assets


@pytest.fixture(scope="module")
def oracle():
    """Return the annotation after each of the chapter's steps, the table, and the locations."""
    files = Path(assets("proteins/datasets/go-basic.obo")).parent
    terms, taxonomy = (
        pd.read_csv(files / f"train_{name}.tsv.zip", sep="\t", dtype="str")
        for name in ("terms", "taxonomy")
    )
    records = (files / "train_sequences.fasta").read_text().split(">")[1:]
    sequences = pd.DataFrame(map(str.split, records), columns=["EntryID", "Sequence"])
    human = terms[terms["EntryID"].isin(taxonomy.query("taxonomyID == '9606'")["EntryID"])]

    steps = {"Annotation, MFO": terms[terms["aspect"] == "MFO"]}
    steps["Species 9606"] = rows = human[human["aspect"] == "MFO"]
    rows = rows[~rows["term"].isin(["GO:0003674", "GO:0005488", "GO:0005515"])]
    steps["Informative terms"] = rows
    rows = rows[rows.groupby("term")["EntryID"].transform("nunique") >= 50]
    steps["Terms of 50 or more proteins"] = rows
    wide = pd.crosstab(rows["EntryID"], rows["term"]).reset_index()
    table = sequences.merge(wide, on="EntryID").sort_values("EntryID", ignore_index=True)

    places = human[human["aspect"] == "CCO"]
    places = places[~places["term"].isin(["GO:0005575", "GO:0110165"])]
    only = places[~places["EntryID"].duplicated(keep=False)].merge(sequences, on="EntryID")
    return steps, table, only[only["Sequence"].str.len().between(100, 500)]


def test_table_and_counts_equal_the_oracle_s(oracle, capsys):
    steps, wide, _ = oracle
    table, said = dataset.function_table(), capsys.readouterr().out
    counts = [(len(r), r["EntryID"].nunique(), r["term"].nunique()) for r in steps.values()]
    assert counts[0][0] == 143_838 and counts[1] == (139_782, 14_122, 4_079)
    assert counts[3][1:] == (9_911, 292) and len(table) == 5_435
    for step, (rows, proteins, terms) in zip(steps, counts, strict=True):
        assert f"{step}: {rows:,} rows, {proteins:,} proteins, {terms:,} terms" in said
    assert f"Table: {len(wide):,} x 295; {wide['Sequence'].nunique():,} distinct sequences" in said
    expected = wide[wide["Sequence"].str.len() <= 500].reset_index(drop=True)
    assert list(table.columns) == ["EntryID", "Sequence", "Length", *wide.columns[2:]]
    pd.testing.assert_frame_equal(
        table.drop(columns="Length"), expected, check_dtype=False, check_names=False
    )


def test_proteins_of_one_place(oracle):
    for place, n in (("GO:0005576", 163), ("GO:0016020", 47)):
        expected = sorted(oracle[2].query(f"term == '{place}'")["EntryID"])
        assert dataset.proteins_at(place)["EntryID"].tolist() == expected and len(expected) == n
    # A place that lies inside others, so that no protein has the term alone.
    assert len(dataset.proteins_at("GO:0005739")) > 40
