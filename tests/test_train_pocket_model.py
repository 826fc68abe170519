"""The tool that trains the small model, on a corpus of a few made-up proteins."""

import argparse
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import EsmForMaskedLM, EsmTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))
import train_pocket_model as tool  # noqa: E402

LETTERS = np.array(list("LAGVSERTIDPKQNFYMHWC"))


@pytest.fixture
def work(tmp_path, monkeypatch):
    """Write 60 proteins of 20 clusters, three each; P0_0 has a relative in another cluster."""
    rng = np.random.default_rng(0)
    with (tmp_path / "corpus.fasta").open("w") as corpus:
        for cluster in range(20):
            ancestor = rng.choice(LETTERS, rng.integers(40, 120))
            for member in range(3):
                sequence = np.where(rng.random(len(ancestor)) < 0.2, rng.choice(LETTERS), ancestor)
                taxon = 9606 if member == 0 and cluster < 10 else 0
                corpus.write(f">P{cluster}_{member} OX={taxon}\n{''.join(sequence)}\n")

    def mmseqs(result, command, *inputs, options):
        names = tool.read_corpus(inputs[0])[0]
        if command == "easy-linclust":
            return [(name.split("_")[0] + "_0", name) for name in names]
        hits = [(name, f"{name[:-1]}{other}") for name in names for other in range(3)]
        return hits + [("P0_0", "P1_2")] * ("P0_0" in names)

    monkeypatch.setattr(tool, "mmseqs", mmseqs)
    return tmp_path


def arguments(work, **changes):
    settings = dict(
        work=work, packages=None, residues=math.inf, tokens=3072, minutes=math.inf,
        hidden=32, layers=2, heads=2, crop=64, batch_tokens=1024, micro_tokens=512, lr=3e-3,
        by_cluster=0.5, save_every=2, workers=1, device="cpu", seed=42, export=work / "exported",
    )  # fmt: skip
    return argparse.Namespace(**(settings | changes))


def run(settings):
    tool.hold_out(settings.work / "corpus.fasta", settings.work, wanted=2)
    tool.pack(settings)
    threads = torch.get_num_threads()
    tool.train(0, settings)
    torch.set_num_threads(threads)
    return torch.load(settings.work / "checkpoint.pt", weights_only=True)


def test_one_sequence_has_one_name_the_human_one(tmp_path, monkeypatch):
    long, short = "MALW" * 10, "MALW"
    proteins = {"A1": long, "B2": long, "C3": short, "D4": long + "K"}
    monkeypatch.setattr(tool, "unpacked", lambda name, packages: packages)
    monkeypatch.setattr(tool, "read_sequences", lambda folder: proteins)
    monkeypatch.setattr(tool, "human_accessions", lambda database: {"B2", "C3"})
    tool.make_corpus(tmp_path, tmp_path / "corpus.fasta")
    expected = f">B2 OX=9606\n{long}\n>D4 OX=0\n{long}K\n"
    assert (tmp_path / "corpus.fasta").read_text() == expected
    assert tool.read_corpus(tmp_path / "corpus.fasta") == ({"B2": long, "D4": long + "K"}, {"B2"})


def test_clusters_are_held_out_whole_and_their_relatives_kept_out_of_training(work):
    corpus = work / "corpus.fasta"
    held_out, excluded = tool.hold_out(corpus, work, wanted=10)
    assert len(held_out) == len(excluded) == 60
    assert tool.hold_out(corpus, work, wanted=1) == (held_out, excluded), "kept in the folder"
    (work / "held_out.txt").unlink()
    held_out, excluded = tool.hold_out(corpus, work, wanted=10, most_relatives=3)
    assert sorted({*tool.read_corpus(corpus)[0]} - {*excluded}) == ["P0_0", "P0_1", "P0_2"]
    (work / "held_out.txt").unlink()
    held_out, excluded = tool.hold_out(corpus, work, wanted=2)
    assert len(held_out) == 12, "two clusters with a human protein and two without"

    (work / "excluded.txt").write_text("\n".join([*excluded, "P5_1"]))
    settings = arguments(work)
    tool.pack(settings)
    proteins, weights, group = tool.load_data(work)
    drawn = {p.tobytes() for p, weight in zip(proteins, weights, strict=True) if weight}
    sequences = tool.read_corpus(corpus)[0]
    may = {tool.tokenize(s).tobytes() for n, s in sequences.items() if n not in {*excluded, "P5_1"}}
    assert drawn == may and weights.sum() == pytest.approx(1)
    assert np.bincount(group)[1:].tolist() == [2, 10]
    tool.pack(arguments(work, residues=1000))
    proteins, _, group = tool.load_data(work)
    assert 800 < sum(len(proteins[i]) for i in np.flatnonzero(group == tool.TRAIN)) <= 1000


def test_fifteen_percent_are_asked_for_as_in_esm2():
    rng = np.random.default_rng(0)
    tokens = rng.integers(4, 24, (50, 400)).astype(np.uint8)
    tokens[:, 0], tokens[:, -1] = tool.CLS, tool.EOS
    corrupted, positions = tool.corrupt(tokens, rng)
    before, after = tokens.reshape(-1)[positions], corrupted.reshape(-1)[positions]
    assert len(positions) / tokens.size == pytest.approx(0.15, abs=0.01)
    assert (after == tool.MASK).mean() == pytest.approx(0.8, abs=0.02)
    assert (after == before).mean() == pytest.approx(0.1 + 0.1 / 20, abs=0.02)
    untouched = np.setdiff1d(np.arange(tokens.size), positions)
    assert (corrupted.reshape(-1) == tokens.reshape(-1))[untouched].all()
    assert not np.isin(before, [tool.CLS, tool.EOS]).any()


def test_batches_need_no_padding():
    proteins = [np.full(length, 7, np.uint8) for length in (30, 50, 64, 65, 200)]
    rng = np.random.default_rng(0)
    batches = tool.micro_batches(proteins, np.full(5, 0.2), 64, 512, rng)
    assert sum(len(batch) for batch in batches) == 4096
    assert {batch.shape[1] for batch in batches} == {30, 32, 64}
    assert max(batch.size for batch in batches) == 512


def test_a_run_that_was_cut_off_goes_on_and_a_seed_decides(work, capsys):
    first = run(arguments(work, tokens=2048))
    assert first["done"] == {"tokens": 2048, "steps": 2}
    second = run(arguments(work, tokens=4096))
    assert second["done"] == {"tokens": 4096, "steps": 4}
    said = capsys.readouterr().out
    assert "from {'tokens': 2048, 'steps': 2}" in said and "held-out perplexity at 0.00M" in said
    name = "esm.encoder.layer.0.attention.self.query.weight"
    assert not torch.equal(first["model"][name], second["model"][name])
    (work / "checkpoint.pt").unlink()
    again = run(arguments(work, tokens=2048))
    assert all(torch.equal(first["model"][name], again["model"][name]) for name in again["model"])


def test_a_run_ends_with_its_time(work):
    done = run(arguments(work, tokens=1e12, minutes=0.01))["done"]
    assert 0 < done["tokens"] < 1e12


def test_what_is_exported_is_what_was_trained(work):
    settings = arguments(work)
    saved = run(settings)
    tool.export(settings)
    model = EsmForMaskedLM.from_pretrained(settings.export, dtype=torch.float32)
    for name, weight in model.state_dict().items():
        if "inv_freq" not in name:  # computed in float32, and not in the file
            assert torch.equal(weight, saved["model"][name].half().float()), name
    exact = 10000.0 ** (-torch.arange(0, 16, 2) / 16)
    assert torch.allclose(model.esm.rotary_embeddings.inv_freq, exact, rtol=1e-6)
    tokenizer = EsmTokenizer.from_pretrained(settings.export)
    assert tokenizer("MALWM")["input_ids"] == [0, 20, 5, 4, 22, 20, 2]
    assert json.loads((settings.export / "training.json").read_text()) == saved["done"]
