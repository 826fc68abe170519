"""What page 13 shows was measured by tools/scaling.py: its steps, on a few proteins."""

import json

from dlfb import embed
from tools import scaling


def test_the_steps_of_a_run_are_told_apart(tmp_path):
    fasta = tmp_path / "p.fasta"
    fasta.write_text("".join(f">{i}\n{'MKV' * 30}{'A' * i}\n" for i in range(12)))
    own = embed.mean_states
    spent = scaling.shares(fasta, tmp_path)
    assert set(spent) == {"loading", "model", "writing", "reading and checking", "tokens"}
    assert max(spent, key=spent.get) in ("model", "loading") and min(spent.values()) >= 0
    assert embed.mean_states is own


def test_the_kept_file_has_three_runs_of_each_way():
    kept = json.loads(scaling.KEPT.read_text(encoding="utf8"))
    assert [run["way"] for run in kept["curve"]] == list(scaling.WAYS) * scaling.ROUNDS
    assert [row["model"] for row in kept["speeds"]] == list(scaling.PROTEINS)
    assert [row["precision"] for row in kept["gpu"]["speeds"]] == ["exact", "fast"]


def test_a_device_is_timed_in_both_precisions():
    exact, fast = scaling.gpu_speeds("8M", 2, "cpu")
    assert exact["residues"] == fast["residues"] > 100
    assert min(exact["seconds"], fast["seconds"]) > 0
