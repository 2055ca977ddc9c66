"""The cost of a step, measured beside the recipe's loop."""

import json

import pytest
import torch

from harness.benchmark import loops
from harness.benchmark.__main__ import Benchmark, main, run
from harness.config import WEIGHTS
from harness.models import load as models


def test_one_command_prints_a_table_and_writes_json(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(loops, "RECIPE_SAMPLING", 1)
    monkeypatch.setattr(loops, "GROWN", {"batch_size": (2,), "resolution": (1 / 2,), "concepts": (64,)})
    monkeypatch.setattr(loops, "OTHERS", ("pearson",))
    out = tmp_path / "new" / "benchmark.json"
    assert main(["--steps", "1", "--rounds", "1", "--batch-size", "1", "--growth", "--output", str(out)]) == 0
    printed = capsys.readouterr().out
    result = json.loads(out.read_text())
    assert f"{result['step_ratio']:.3f}" in printed
    assert result["step_flops"] > 1e8
    assert set(result["divergence_ratio"]) == {"kl", *loops.OTHERS}
    assert {row["grown"]: row["to"] for row in result["growth"]} == {
        "batch_size": 2,
        "resolution": 32,
        "concepts": 64,
    }
    assert "concepts 64: " in printed
    assert min(result["job_seconds_from_parts"].values()) > 0


def test_both_loops_train_the_same_weights():
    moved = {}
    for name in ("ours", "reference"):
        model = models.load(WEIGHTS, torch.device("cpu"))
        before = {key: value.clone() for key, value in model.network.state_dict().items()}
        size = loops.Size(batch_size=1)
        ours = name == "ours"
        with loops.ours(model, size, "kl") if ours else loops.reference(model, size) as step:
            step()
            after = model.network.state_dict()
            moved[name] = {key for key in before if not torch.equal(before[key], after[key])}
        assert not ours or all(torch.equal(before[key], model.network.state_dict()[key]) for key in before)
    assert moved["ours"] == moved["reference"]
    assert all("attn2.to_" in key for key in moved["ours"])


def test_a_device_that_is_not_there_is_one_line(capsys):
    assert main(["--device", "cuda:99"]) == 2
    assert capsys.readouterr().err.startswith("error: --device cuda:99")


@pytest.mark.gpu
def test_a_gpu_reports_its_peak_memory(tmp_path):
    result = run(Benchmark(steps=1, rounds=1, device="cuda", output=tmp_path / "out.json"))
    assert result["peak_bytes"]["ours"] < result["peak_bytes"]["reference"]
