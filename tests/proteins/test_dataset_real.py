"""The chapter's counts on real proteins, recomputed with pandas alone."""

from pathlib import Path

import pandas as pd
import pytest

from dlfb.proteins import dataset

REAL = Path(__file__).parents[2] / "../shared/data/cafa6"
FILES = REAL / "proteins/datasets"

pytestmark = pytest.mark.skipif(not FILES.is_dir(), reason="needs ../shared/data/cafa6")


@pytest.fixture(scope="module")
def real():
    """Our table, its splits, and what was printed on the way."""
    import contextlib
    import io

    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.setenv("DLFB_ASSETS", str(REAL))
        table = dataset.function_table()
        splits = dataset.split_proteins(table)
    return table, splits, printed.getvalue().splitlines()


@pytest.fixture(scope="module")
def oracle():
    """The chapter's steps, each as plainly as pandas can say it, and their counts."""
    read = {"sep": "\t", "dtype": "str"}
    terms = pd.read_csv(FILES / "train_terms.tsv.zip", **read)
    taxonomy = pd.read_csv(FILES / "train_taxonomy.tsv.zip", **read)
    records = (FILES / "train_sequences.fasta").read_text().split(">")[1:]
    sequences = pd.DataFrame(
        [(r.split(None, 1)[0], "".join(r.split("\n")[1:])) for r in records],
        columns=["EntryID", "Sequence"],
    )
    obo = (FILES / "go-basic.obo").read_text().split("[Term]")[1:]
    names = pd.DataFrame({"term": [stanza.split("id: ")[1].split("\n")[0] for stanza in obo]})

    def size(frame):
        return len(frame), frame["EntryID"].nunique(), frame["term"].nunique()

    counts = {"all": size(terms), "go": len(names), "taxa": len(taxonomy)}
    counts["sequences"] = len(sequences)
    molecular = terms[terms["aspect"] == "MFO"]
    counts["mfo"] = size(molecular)
    counts["most frequent"] = molecular["term"].value_counts().index[:3].tolist()
    molecular = molecular.merge(names, on="term")
    counts["named"] = size(molecular)
    human = molecular[molecular["EntryID"].isin(taxonomy.query("taxonomyID == '9606'")["EntryID"])]
    counts["human"] = size(human)
    telling = human[~human["term"].isin(["GO:0003674", "GO:0005488", "GO:0005515"])]
    counts["telling"] = size(telling)
    common = telling[telling.groupby("term")["EntryID"].transform("nunique") >= 50]
    counts["common"] = size(common)
    wide = pd.crosstab(common["EntryID"], common["term"]).reset_index()
    wide = sequences.merge(wide, on="EntryID").sort_values("EntryID", ignore_index=True)
    counts["table"] = (len(wide), len(wide.columns), wide["Sequence"].nunique())
    short = wide[wide["Sequence"].str.len() <= 500].reset_index(drop=True)
    counts["short"] = len(short)
    return short, counts


def test_what_the_data_say_of_themselves(oracle):
    """The counts that the data set's own description gives."""
    counts = oracle[1]
    assert counts["all"][:2] == (2_487_706, 49_612)
    assert counts["go"] == 40_095
    assert counts["common"][1:] == (8_658, 294)
    assert counts["short"] == 4_575


def test_table_equals_the_oracle_s(real, oracle):
    table, expected = real[0], oracle[0]
    assert table.shape == (4575, 3 + 294)
    assert list(table.columns) == ["EntryID", "Sequence", "Length", *expected.columns[2:]]
    assert (table.dtypes.iloc[3:] == "int8").all()
    assert table["EntryID"].tolist() == expected["EntryID"].tolist()
    assert table["Sequence"].tolist() == expected["Sequence"].tolist()
    assert (table.iloc[:, 3:].to_numpy() == expected.iloc[:, 2:].to_numpy()).all()


def test_every_step_says_the_oracle_s_counts(real, oracle):
    lines, counts = real[2], oracle[1]

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
    assert lines[5] == f"Table: {height:,} x {width + 1}; {distinct:,} distinct sequences"
    assert lines[6].startswith(f"At most 500 residues: {counts['short']:,} proteins; ")
    assert len(lines) == 7


def test_the_files_as_read(oracle, monkeypatch):
    monkeypatch.setenv("DLFB_ASSETS", str(REAL))
    counts = oracle[1]
    assert counts["most frequent"] == list(dataset.NEAR_UNIVERSAL_TERMS)
    assert len(dataset.load_terms()) == counts["all"][0]
    assert len(dataset.load_taxonomy()) == counts["taxa"]
    assert len(dataset.load_sequences()) == counts["sequences"]
    assert len(dataset.get_go_term_descriptions()) == counts["go"]


def test_splits_of_real_proteins(real):
    table, splits, _ = real
    assert [len(split) for split in splits.values()] == [2745, 915, 915]
    sides = pd.concat([s["Sequence"].to_frame().assign(side=n) for n, s in splits.items()])
    assert (sides.groupby("Sequence")["side"].nunique() == 1).all()
    assert table["Sequence"].duplicated().any()
