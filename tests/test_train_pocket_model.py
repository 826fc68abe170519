"""The tool that trains the pocket model, on a corpus of a few made-up proteins."""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))
import train_pocket_model as tool  # noqa: E402

LETTERS = np.array(list("LAGVSERTIDPKQNFYMHWC"))


@pytest.fixture
def corpus(tmp_path):
    """Write 60 proteins of 20 clusters, three each, and the table of the clusters."""
    rng = np.random.default_rng(0)
    work = tmp_path / "work"
    work.mkdir()
    records, pairs = [], []
    for cluster in range(20):
        ancestor = rng.choice(LETTERS, rng.integers(40, 120))
        for member in range(3):
            sequence = np.where(rng.random(len(ancestor)) < 0.2, rng.choice(LETTERS), ancestor)
            name, taxon = f"P{cluster}_{member}", "9606" if member == 0 else "10090"
            records.append(f">{name} OX={taxon}\n{''.join(sequence)}\n")
            pairs.append(f"P{cluster}_0\t{name}\n")
    (tmp_path / "corpus.fasta").write_text("".join(records))
    (work / "clusters_cluster.tsv").write_text("".join(pairs))
    return tmp_path / "corpus.fasta"


def arguments(corpus, **changes):
    settings = dict(
        corpus=corpus, work=corpus.parent / "work", tokens=3072, hidden=32, layers=2, heads=2,
        crops="32:0.5,64:1", batch_tokens=1024, micro_tokens=512, lr=3e-3, simulated=0.0,
        save_every=2, workers=1, seed=42, by_cluster=0.5, plain_start=False,
        export=corpus.parent / "exported", check=False,
    )  # fmt: skip
    return argparse.Namespace(**(settings | changes))


def run(settings):
    (settings.work / "rendezvous").unlink(missing_ok=True)
    threads = torch.get_num_threads()
    try:
        tool.train(0, settings)
    finally:
        torch.set_num_threads(threads)
    return torch.load(settings.work / "checkpoint.pt", weights_only=True)


def test_relatives_are_held_out_together(corpus):
    ids, taxa, sequences = tool.read_corpus(corpus)
    representative = tool.cluster(corpus, corpus.parent / "work")
    sizes, held_out = tool.hold_out(ids, representative, share=0.3)
    assert 0 < held_out.sum() < len(ids) and set(sizes) == {3}
    outside = {representative[i] for i in ids[~held_out]}
    assert not outside & {representative[i] for i in ids[held_out]}
    assert set(taxa) == {"9606", "10090"} and len(sequences) == 60


def test_held_out_proteins_are_never_drawn(corpus, monkeypatch):
    hold_out = tool.hold_out
    monkeypatch.setattr(tool, "hold_out", lambda *args: hold_out(*args, share=0.3))
    proteins, weights, human, other = tool.load_data(arguments(corpus))
    assert weights.sum() == pytest.approx(1) and len(human) and len(other)
    away = {p.tobytes() for p in [*human, *other]}
    assert all((w == 0) == (p.tobytes() in away) for p, w in zip(proteins, weights, strict=True))


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


def test_batches_need_no_padding(corpus):
    proteins, weights, *_ = tool.load_data(arguments(corpus))
    rng = np.random.default_rng(0)
    batches = tool.micro_batches(proteins, weights, 64, 512, rng, draws=200)
    assert sum(len(batch) for batch in batches) == 200
    for batch in batches:
        assert batch.shape[1] in (32, 64) and batch.size <= 512 + 64
        assert (batch != 1).all(), "a padding token"


def test_logits_are_those_of_transformers(capsys):
    tool.check(argparse.Namespace(hidden=32, layers=2, heads=2))
    assert float(capsys.readouterr().out.split()[-1]) < 1e-5


def test_a_run_that_was_cut_off_goes_on(corpus, capsys):
    first = run(arguments(corpus, tokens=2048))
    assert first["done"] == {"tokens": 2048, "steps": 2}
    second = run(arguments(corpus, tokens=4096))
    assert second["done"] == {"tokens": 4096, "steps": 4}
    said = capsys.readouterr().out
    assert "from {'tokens': 2048, 'steps': 2}" in said and "held-out perplexity at 0.00M" in said
    name = "esm.encoder.layer.0.attention.self.query.weight"
    assert not torch.equal(first["model"][name], second["model"][name])


def test_the_same_seed_gives_the_same_weights(corpus):
    one = run(arguments(corpus))
    (corpus.parent / "work" / "checkpoint.pt").unlink()
    two = run(arguments(corpus))
    assert all(torch.equal(one["model"][name], two["model"][name]) for name in one["model"])


def test_what_is_exported_is_what_was_trained(corpus):
    from transformers import EsmForMaskedLM, EsmTokenizer

    settings = arguments(corpus)
    saved = run(settings)
    tool.export(settings)
    model = EsmForMaskedLM.from_pretrained(settings.export, dtype=torch.float32)
    for name, weight in model.state_dict().items():
        if "inv_freq" not in name:  # computed in float32, and not in the file
            assert torch.equal(weight, saved["model"][name].half().float()), name
    size = 32 // 2
    exact = 10000.0 ** (-torch.arange(0, size, 2) / size)
    assert torch.allclose(model.esm.rotary_embeddings.inv_freq, exact, rtol=1e-6)
    tokenizer = EsmTokenizer.from_pretrained(settings.export)
    assert tokenizer("MALWM")["input_ids"] == [0, 20, 5, 4, 22, 20, 2]
    assert json.loads((settings.export / "training.json").read_text()) == saved["done"]
