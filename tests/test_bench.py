"""The benchmarks' logic, at sizes that take a moment: what is timed is asked elsewhere."""

import importlib
import json

import numpy as np
import pytest

from tools.build_book import ROOT


@pytest.fixture
def tool(monkeypatch):
    """Return the function that imports a tool as a script would find it."""
    monkeypatch.syspath_prepend(ROOT / "tools")
    return importlib.import_module


def test_embedding_is_timed_every_way(tool, monkeypatch):
    import torch

    bench = tool("bench_embedding")
    monkeypatch.setitem(bench.SHAPES, "8M", (32, 2, 4))
    said = []
    plan = bench.Plan("8M", proteins=6, by_chapter=3, rounds=2)
    lengths = np.arange(10, 60)
    rows = bench.measure(plan, torch.device("cpu"), lengths, said.append)
    assert [row["way"] for row in rows] == list(bench.WAYS) and len(said) == 2 * 4
    assert [row["proteins"] for row in rows] == [3, 6, 6, 6]
    for row in rows:
        assert all(least <= median <= most for median, least, most in row["times"].values())
        assert row["residues_per_second"] > 0 and row["share_of_product_rate"] > 0
    assert rows[0]["times"]["chapter"] == rows[1]["times"]["facebookresearch"] == [1, 1, 1]
    assert rows[2]["precision"] == "float32"


def test_a_way_that_computes_something_else_stops_the_run(tool):
    bench = tool("bench_embedding")
    right = np.ones((3, 4), np.float32)
    wrong = right + np.float32([[0], [1e-3], [0]])
    bench.check({"facebookresearch": right, "exact": right, "fast": wrong})
    with pytest.raises(SystemExit, match="exact is 1.0e-03 from"):
        bench.check({"facebookresearch": right, "exact": wrong, "fast": right})
    with pytest.raises(SystemExit, match="fast is nan from"):
        bench.check({"facebookresearch": right, "exact": right, "fast": right * np.nan})


def test_a_small_sample_has_the_lengths_of_a_large_one(tool):
    bench = tool("bench_embedding")
    lengths = np.sort(np.random.default_rng(0).integers(20, 501, 5000))
    few, many = (np.array([len(p) for p in bench.sample(lengths, n)]) for n in (32, 1000))
    for share in (0.1, 0.5, 0.9):
        assert np.quantile(few, share) == pytest.approx(np.quantile(lengths, share), abs=12)
    assert few.mean() == pytest.approx(many.mean(), rel=0.01)
    assert (np.diff(few) < 0).any()  # not sorted: the order of a file is one by chance


def test_the_work_is_counted_without_padding(tool):
    bench = tool("bench_embedding")
    _, model = bench.load("8M")
    # Twelve matrix products of 320 x 320 and two of attention, two operations a product.
    per_token = 6 * (2 * 12 * 320**2 + 2 * 2 * 100 * 320)
    assert bench.useful_flops(["M" * 98], model) == 100 * per_token


def test_ratios_are_of_each_round(tool):
    assert tool("bench_embedding").ratios([2, 9, 4], [1, 3, 4]) == [2, 1, 3]


def test_training_is_timed_both_ways(tool, monkeypatch):
    bench = tool("bench_training")
    for name, value in {"N_TRAIN": 70, "N_VALID": 40, "WIDTH": 8, "N_TERMS": 12}.items():
        monkeypatch.setattr(bench, name, value)
    said = []
    rows = bench.measure(1, num_steps=3, eval_every=2, say=said.append)
    assert [row["what"] for row in rows] == [
        "scoring 40 proteins x 12 functions",
        "training, 3 steps, 2 evaluations",
        "the same, with compiling",
        "compiling alone",
    ]
    assert rows[0]["times"][0] == pytest.approx(rows[0]["rival_seconds"] / rows[0]["seconds"])
    assert len(said) == 2 and "chapters_train" in said[1]


def test_the_rival_trains_and_scores_the_same(tool, monkeypatch):
    import jax
    import optax

    from dlfb.proteins.metrics import METRICS, per_protein_metrics
    from dlfb.proteins.model import Model
    from dlfb.proteins.train import predict

    bench = tool("bench_training")
    for name, value in {"WIDTH": 8, "N_TERMS": 12}.items():
        monkeypatch.setattr(bench, name, value)
    splits = {"train": bench.make_split(70, 0), "valid": bench.make_split(64, 1)}
    state = Model(num_targets=12).create_train_state(
        rng=jax.random.PRNGKey(42), dummy_input=splits["train"].embeddings[:1], tx=optax.adam(0.01)
    )
    state, history = bench.chapters_train(state, splits, num_steps=4, eval_every=2)
    assert [step for step, *_ in history] == [2, 4] and state.step == 4
    table = per_protein_metrics(
        splits["valid"].targets, predict(state, splits["valid"]), undefined=0.0
    )
    # Batches of one size, so that the mean of their means is the mean.
    np.testing.assert_allclose(history[-1][2], table[list(METRICS)].mean(), atol=1e-6)


def test_limits_are_measured_in_processes_of_their_own(tool):
    bench = tool("bench_limits")
    row = bench.measure("metrics", 300, 200)
    assert row["unit"] == "GB" and 0 < row["value"] < 0.1 and row["what"].startswith("scoring")
    with pytest.raises(SystemExit, match="fingerprint failed"):
        bench.measure("fingerprint", -1)


def test_limits_can_be_measured_at_any_size(tool, monkeypatch):
    bench = tool("bench_limits")
    monkeypatch.setitem(tool("bench_embedding").SHAPES, "8M", (32, 2, 4))
    assert 0 < bench.fingerprint(1) < 0.5
    assert 0 < bench.restore(50) < 0.5
    assert 0.05 < bench.titin(1500) < 64


# --- the page


def made_up_run():
    embedding = [
        {
            "model": "8M", "way": way, "precision": "float32", "proteins": 512, "rounds": 5,
            "seconds": 1.0, "residues_per_second": rate, "product_gflops": 120.0,
            "times": {"chapter": [rate / 1000, 1, 9], "facebookresearch": [rate / 2500, 1, 2]},
            "share_of_product_rate": rate / 5000,
        }
        for way, rate in (
            ("chapter", 1000), ("facebookresearch", 2500), ("exact", 3500), ("fast", 5500),
        )
    ]  # fmt: skip
    training = [
        {"what": what, "rounds": 5, "seconds": 2.0, "rival_seconds": 60.0, "times": [30, 29, 31]}
        for what in ("scoring 1,191 proteins x 303 functions", "training, 300 steps, 10 "
        "evaluations", "the same, with compiling", "compiling alone")
    ]  # fmt: skip
    limits = [
        {"what": "restoring", "value": 0.05, "unit": "s", "limit": 0.5},
        {"what": "titin", "value": 4.5, "unit": "GB", "limit": 4.0},
    ]
    return {
        "embedding": embedding, "training": training, "limits": limits, "machine": "A, 2 cores",
        "threads": 2, "amx": False, "load_before": 0.1, "python": "3.11", "day": "2026-11-22",
        "packages": {"torch": "2"}, "lengths": "some proteins", "seconds": 1200,
    }  # fmt: skip


def test_the_page_says_every_figure_and_what_was_missed(tool):
    bench = tool("bench")
    run = made_up_run()
    page = bench.write_page({"cpu": run})
    rows = [line for line in page.splitlines() if line.startswith("| ") and "---" not in line][1:]
    assert len(rows) == 2 * 3 + 4 + 2
    assert [row.split(" | ")[0].strip("| ") for row in rows if "missed" in row] == [
        "scoring 1,191 proteins x 303 functions",  # 30 times, and 50 were wanted
        "titin",
    ]
    assert "3.50 (1.00–9.00) | at least 3 |" in rows[0]
    assert "at least 1.3 |" in rows[1] and "| 70% | matrix products alone |" in rows[2]
    assert rows[3].endswith("|  |")  # no aim for `fast` where there is no AMX
    assert "take care" not in page
    run.update(amx=True, load_before=1.5)
    page = bench.write_page({"cpu": run, "cuda": {**run, "training": []}})
    assert "5.50 (1.00–9.00) | at least 6, **missed** |" in page
    assert "embedding, ESM2 8M on the GPU, fast" in page and "- **GPU.**" in page
    assert page.count("take care") == 2


def test_a_run_says_what_was_measured_where_and_when(tool, monkeypatch):
    bench, made_up = tool("bench"), made_up_run()
    asked = []
    for name in ("embedding", "training"):
        rows = made_up[name]
        monkeypatch.setattr(
            tool(f"bench_{name}"), "measure", lambda *a, rows=rows, **k: asked.append(a) or rows
        )
    monkeypatch.setattr(tool("bench_limits"), "measure", lambda n: {**made_up["limits"][0], "n": n})
    run = bench.measure("cpu", quick=True)
    plans = tool("bench_embedding").PLANS["quick"]
    assert [plan for plan, *_ in asked[:-1]] == list(plans) and asked[-1] == (1,)
    assert [row["n"] for row in run["limits"]] == ["restore", "fingerprint", "titin"]
    assert run["packages"]["torch"] in bench.write_page({"cpu": json.loads(json.dumps(run))})
    run = bench.measure("cpu", quick=False)
    assert asked[-1] == (5,) and len(run["limits"]) == 4
    assert {"embedding", "training", "limits"} < run.keys()


def test_a_run_keeps_the_rows_of_the_other_device(tool, monkeypatch, tmp_path, capsys):
    bench = tool("bench")
    for name in ("ROOT", "FIGURES", "PAGE"):
        here = {"ROOT": tmp_path, "FIGURES": tmp_path / "f.json", "PAGE": tmp_path / "p.md"}[name]
        monkeypatch.setattr(bench, name, here)
    asked = []
    run = made_up_run()
    monkeypatch.setattr(bench, "measure", lambda *asks: asked.append(asks) or run)
    bench.main(["--device", "cpu"])
    bench.main(["--device", "cuda"])
    assert asked == [("cpu", False), ("cuda", False)]
    assert list(json.loads((tmp_path / "f.json").read_text())) == ["cpu", "cuda"]
    whole = (tmp_path / "p.md").read_text()
    (tmp_path / "p.md").write_text("typed by hand")
    bench.main(["--page"])
    assert (tmp_path / "p.md").read_text() == whole and len(asked) == 2
    bench.main(["--quick", "--device", "cpu"])
    assert asked[-1] == ("cpu", True)
    assert (tmp_path / "p.md").read_text() == whole  # what the book shows stays
    assert (tmp_path / "_build" / "quick-f.json").exists()


def test_the_books_page_is_the_one_of_its_figures(tool):
    bench = tool("bench")
    if not bench.FIGURES.exists():
        pytest.skip("the benchmarks have not been run")
    figures = json.loads(bench.FIGURES.read_text("utf8"))
    assert bench.PAGE.read_text("utf8") == bench.write_page(figures)
