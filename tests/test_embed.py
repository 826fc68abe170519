"""The command dlfb-embed: parts, resuming, damage, and the same on Ray with a worker killed."""

import hashlib
import itertools
import json
import os
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pyarrow.parquet
import pytest

from dlfb import embed
from dlfb.proteins.embeddings import get_mean_embeddings
from dlfb.proteins.language_model import load_language_model
from dlfb.proteins.sequences import AMINO_ACIDS, INSULIN
from tests.tiny_esm import save_tiny_esm

NAME = "facebook/esm2_t6_8M_UR50D"
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    root = tmp_path_factory.mktemp("checkpoints")
    save_tiny_esm(root / NAME)
    save_tiny_esm(root / "other", seed=1)
    return root


@pytest.fixture(autouse=True)
def use_checkpoints(checkpoints, monkeypatch):
    monkeypatch.setenv("DLFB_CHECKPOINTS", str(checkpoints))


@pytest.fixture
def computed(monkeypatch):
    """Return a list that fills up with the sequences that are computed."""
    seen, mean_states = [], embed.mean_states
    spy = lambda sequences, *args, **kwargs: (  # noqa: E731
        seen.extend(sequences) or mean_states(sequences, *args, **kwargs)
    )
    monkeypatch.setattr(embed, "mean_states", spy)
    return seen


def random_proteins(n: int, longest: int) -> dict[str, str]:
    rng = np.random.default_rng(42)
    lengths = rng.integers(5, longest + 1, n)
    return {f"P{i:05}": "".join(rng.choice(AMINO_ACIDS, size)) for i, size in enumerate(lengths)}


def write_fasta(path: Path, proteins: dict[str, str]) -> Path:
    path.write_text("".join(f">{name} said\n{protein}\n" for name, protein in proteins.items()))
    return path


def run(fasta: Path, out: Path, *arguments: str) -> int:
    ask = [str(fasta), "--out", str(out), "--checkpoint", NAME, "--device", "cpu", *arguments]
    return embed.main(ask)


def read(out: Path) -> pd.DataFrame:
    return pd.read_parquet(out).set_index("id").sort_index()


def test_a_row_per_protein_by_the_model_that_is_named(tmp_path):
    proteins = random_proteins(7, 60) | {"long": INSULIN * 10}
    fasta = write_fasta(tmp_path / "p.fasta", proteins)
    assert run(fasta, tmp_path / "v", "--part-size", "3", "--pooling", "all") == 0
    table = read(tmp_path / "v")
    assert list(table.index) == sorted(proteins)
    expected = get_mean_embeddings(
        proteins.values(), *load_language_model(NAME), "cpu", pooling="all"
    )
    vectors = np.stack(table.loc[list(proteins), "vector"])
    assert vectors.dtype == np.float32 and np.allclose(vectors, expected, atol=1e-5)
    assert table.loc["long", "length"] == 1100
    assert table.loc["long", "sequence_hash"] == hashlib.sha256(proteins["long"].encode()).digest()
    parts = sorted((tmp_path / "v").glob("part-*.parquet"))
    assert len(parts) == 3
    made = json.loads(pyarrow.parquet.read_schema(parts[0]).metadata[b"dlfb"])
    assert (made["model"], made["pooling"], made["precision"]) == (NAME, "all", "exact")


def test_a_protein_more_costs_a_protein_wherever_it_is(tmp_path, computed):
    proteins = random_proteins(20, 30)
    fasta, out = write_fasta(tmp_path / "p.fasta", proteins), tmp_path / "v"
    assert run(fasta, out, "--part-size", "6") == 0
    assert sorted(computed) == sorted(proteins.values())
    before = {file: file.read_bytes() for file in out.glob("part-*")}
    computed.clear()
    assert run(fasta, out) == 0 and computed == []
    write_fasta(fasta, {"first": INSULIN} | proteins)
    assert run(fasta, out) == 0 and computed == [INSULIN]
    assert all(file.read_bytes() == content for file, content in before.items())
    assert sorted(read(out).index) == sorted(["first", *proteins])


def test_one_sequence_under_many_ids_is_computed_once(tmp_path, computed):
    fasta, out = tmp_path / "p.fasta", tmp_path / "v"
    fasta.write_text(f">a\n{INSULIN}\n>b\nMKV\n>c\n{INSULIN.lower()}*\n>a\n{INSULIN}\n")
    assert run(fasta, out, "--part-size", "1") == 0
    assert computed == [INSULIN, "MKV"]
    fasta.write_text(">renamed\nMKV\n")
    assert run(fasta, out) == 0 and len(computed) == 2
    table = read(out)
    assert list(table.index) == ["a", "b", "c", "renamed"]
    assert np.array_equal(table.vector["a"], table.vector["c"])
    assert np.array_equal(table.vector["b"], table.vector["renamed"])


def test_everything_is_checked_before_anything_is_computed(tmp_path, computed, capsys):
    fasta = write_fasta(tmp_path / "p.fasta", {"good": INSULIN, "bad": "MK1"})
    assert run(fasta, tmp_path / "v", "--part-size", "1") == 1
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "record 2 (bad): the letter '1' at position 3" in told
    assert computed == [] and not list(tmp_path.glob("v/part-*"))


def test_what_does_not_fit_is_a_sentence(tmp_path, capsys):
    fasta = write_fasta(tmp_path / "p.fasta", {"a": "MKV"})
    run(fasta, tmp_path / "v")
    for change, told in {
        ("--checkpoint", "other"): "another model: facebook/esm2_t6_8M_UR50D, and not other",
        ("--pooling", "all"): "another pooling: residues, and not all",
        ("--part-size", "0"): "part_size must be a whole number, 1 or more, not 0",
        ("--checkpoint", "nowhere"): "no checkpoint 'nowhere'",
    }.items():
        assert run(fasta, tmp_path / "v", *change) == 1
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and told in error


def test_other_weights_under_one_name_are_noticed(tmp_path, checkpoints, monkeypatch, capsys):
    fasta = write_fasta(tmp_path / "p.fasta", {"a": "MKV"})
    run(fasta, tmp_path / "v")
    save_tiny_esm(tmp_path / "new" / NAME, seed=7)
    monkeypatch.setenv("DLFB_CHECKPOINTS", str(tmp_path / "new"))
    assert run(fasta, tmp_path / "v") == 1
    assert "another fingerprint" in capsys.readouterr().err
    with pytest.raises(ValueError, match="of a worker is another model"):
        embed.Embedder(NAME, "cpu", embed.checked_options(), {"model": NAME, "fingerprint": "b"})


@pytest.mark.parametrize("place", [-10, 400])
def test_a_damaged_part_is_set_aside_and_named(tmp_path, computed, capsys, place):
    proteins = random_proteins(12, 30)
    fasta, out = write_fasta(tmp_path / "p.fasta", proteins), tmp_path / "v"
    run(fasta, out, "--part-size", "4")
    expected, damaged = read(out), sorted(out.glob("part-*"))[1]
    lost = set(pd.read_parquet(damaged)["id"])
    content = bytearray(damaged.read_bytes())
    content[place] ^= 1
    damaged.write_bytes(content)
    (out / ".part.tmp").write_bytes(b"what a killed run left")
    computed.clear()
    capsys.readouterr()
    assert run(fasta, out) == 0
    assert f"{damaged} is damaged. It was set aside as _damaged_" in capsys.readouterr().out
    assert sorted(computed) == sorted(proteins[name] for name in lost)
    assert np.allclose(np.stack(read(out).vector), np.stack(expected.vector), atol=1e-6)


def test_what_was_done_before_an_end_stays(tmp_path, computed, monkeypatch, capsys):
    proteins = random_proteins(10, 30)
    fasta, out = write_fasta(tmp_path / "p.fasta", proteins), tmp_path / "v"
    whole = embed.mean_states

    def stopped(sequences, *args, **kwargs):
        if len(computed) >= 4:
            raise KeyboardInterrupt
        return whole(sequences, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(embed, "mean_states", stopped)
        assert run(fasta, out, "--part-size", "2") == 130
    assert "continues from here" in capsys.readouterr().err and len(read(out)) == 4
    assert run(fasta, out) == 0
    assert len(computed) == 10 and sorted(read(out).index) == sorted(proteins)


def test_memory_does_not_grow_with_the_sequences(tmp_path, monkeypatch):
    vectors = np.zeros((10, 4), np.float32)
    monkeypatch.setattr(embed, "mean_states", lambda s, *args, **kwargs: vectors[: len(s)])

    def peak(n: int) -> int:
        ends = itertools.islice(itertools.product(AMINO_ACIDS, repeat=3), n)
        proteins = {f"P{i}": "M" * 3000 + "".join(end) for i, end in enumerate(ends)}
        fasta = write_fasta(tmp_path / f"{n}.fasta", proteins)
        del proteins
        tracemalloc.start()
        try:
            assert run(fasta, tmp_path / f"{n}", "--part-size", "10") == 0
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(10)  # what is loaded once
    assert peak(1500) - peak(500) < 1e6  # of 3 MB of sequences


def test_without_ray_a_sentence_says_how_to_get_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    fasta = write_fasta(tmp_path / "p.fasta", {"a": "MKV"})
    assert run(fasta, tmp_path / "v", "--engine", "ray") == 1
    assert "pip install 'dlfb[scale]'" in capsys.readouterr().err


@pytest.mark.slow
def test_ray_gives_the_same_though_a_worker_is_killed(tmp_path, checkpoints, computed, capsys):
    """Embed 20,000 short proteins with two workers, one of which is killed at the first part."""
    pytest.importorskip("ray")
    fasta, out = write_fasta(tmp_path / "p.fasta", random_proteins(20_000, 30)), tmp_path / "ray"
    code = "import sys; from dlfb.embed import main; sys.exit(main(sys.argv[1:]))"
    ask = [sys.executable, "-c", code, str(fasta), "--out", str(out), "--checkpoint", NAME]
    ask += ["--device", "cpu", "--engine", "ray", "--workers", "2", "--part-size", "500"]
    environment = os.environ | {"DLFB_CHECKPOINTS": str(checkpoints), "PYTHONPATH": str(ROOT)}
    environment["RAY_worker_niceness"] = "0"  # else anything else that runs goes first
    process = subprocess.Popen(ask, env=environment, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not list(out.glob("part-*")):
        time.sleep(0.05)
    children = psutil.Process(process.pid).children(recursive=True)
    workers = [child for child in children if "MapWorker" in " ".join(child.cmdline())]
    workers[0].kill()
    assert len(workers) == 2 and len(list(out.glob("part-*"))) < 35
    told = process.communicate(timeout=300)[1]
    assert process.returncode == 0, told

    table = read(out)
    assert table.index.is_unique and len(table) == 20_000 and len(list(out.glob("part-*"))) == 40
    assert run(fasta, out, "--engine", "ray") == 0
    assert capsys.readouterr().out.startswith("New sequences: 0 (0 residues)") and computed == []
    assert run(fasta, tmp_path / "here") == 0
    here = read(tmp_path / "here")
    assert (here["sequence_hash"] == table["sequence_hash"]).all()
    assert np.allclose(np.stack(here["vector"]), np.stack(table["vector"]), atol=1e-5)
