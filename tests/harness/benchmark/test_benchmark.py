"""The cost of a step, measured beside the recipe's loop."""

import json
from contextlib import contextmanager
from dataclasses import replace
from typing import get_args, get_type_hints

import pytest
import torch

from harness.benchmark import loops
from harness.benchmark.__main__ import Benchmark, main, rows, run
from harness.benchmark.flops import flops, peak_tflops
from harness.benchmark.shapes import SHAPES
from harness.config import WEIGHTS
from harness.data import latents
from harness.models import load as models
from tests import tiny


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


def test_a_transformer_is_measured_by_the_same_command(tmp_path, capsys, monkeypatch):
    """In its own shape but for the sizes: adapters, bf16, activations computed again, packed latents."""
    monkeypatch.setattr(loops, "RECIPE_SAMPLING", 1)
    torch.backends.cuda.enable_cudnn_sdp(True)  # as it is by default
    known = replace(SHAPES["flux"], make=lambda _: tiny.model("flux"), resolution=16, batch_size=1)
    monkeypatch.setitem(SHAPES, "flux", known)
    flags = ["--shape", "flux", "--steps", "1", "--rounds", "1", "--peak-tflops", "1", "--device", "cpu"]
    assert main([*flags, "--output", str(tmp_path / "out.json")]) == 0
    result = json.loads((tmp_path / "out.json").read_text())
    assert not torch.backends.cuda.cudnn_sdp_enabled()
    assert result["options"]["parameter_group"] == known.parameter_group
    assert min(*result["step_seconds"].values(), *result["job_seconds_from_parts"].values()) > 0
    assert result["divergence_ratio"] == {}
    assert "FLOP utilisation 0.0" in capsys.readouterr().out


def test_both_loops_train_the_same_weights():
    moved = {}
    for name in ("ours", "reference"):
        model = models.load(WEIGHTS, torch.device("cpu"))
        before = {key: value.clone() for key, value in model.network.state_dict().items()}
        size = loops.Size(batch_size=1)
        ours = name == "ours"
        said = latents.encode(model, loops.PROMPTS)
        with loops.ours(model, said, size) if ours else loops.reference(model, size) as step:
            step()
            after = model.network.state_dict()
            moved[name] = {key for key in before if not torch.equal(before[key], after[key])}
        assert not ours or all(torch.equal(before[key], model.network.state_dict()[key]) for key in before)
    assert moved["ours"] == moved["reference"]
    assert all("attn2.to_" in key for key in moved["ours"])


def test_a_sample_takes_none_of_the_time_to_store_the_denoiser_which_a_run_does_once(monkeypatch):
    """A clock that goes on by a second for each picture, and by an hour for each time that weights are stored."""
    clock = [0.0]

    def passes(seconds):
        clock[0] += seconds

    monkeypatch.setattr(loops.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(loops.latents, "sample", lambda model, prompts, *_: passes(len(prompts)))
    monkeypatch.setattr(models, "narrow", lambda network: passes(3600))
    monkeypatch.setattr(loops, "widen", lambda network: passes(3600))
    options = loops.Size(precision="bf16").options
    assert loops.sampling_seconds(tiny.model(), {}, options) == {"ours": 1.0, "reference": 1.0}


@pytest.mark.parametrize("group", ["cross-attention-kv", "lora"])
def test_where_the_memory_ends_within_a_step_the_model_is_as_it_was(group):
    """The next measurement is made on it."""
    model = tiny.model()
    before = {name: each.clone() for name, each in model.network.state_dict().items()}
    said = latents.encode(model, loops.PROMPTS)
    size = loops.Size(resolution=model.pixels, batch_size=1, precision="bf16", parameter_group=group)

    def measure():
        with loops.ours(model, said, size) as step:
            step()
            raise torch.OutOfMemoryError

    assert loops.fitting(measure, torch.device("cpu")) is None
    after = model.network.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(each, before[name]) and each.dtype == before[name].dtype for name, each in after.items())


def test_a_device_that_is_not_there_is_one_line(capsys):
    assert main(["--device", "cuda:99"]) == 2
    assert capsys.readouterr().err.startswith("error: --device cuda:99")


@pytest.mark.gpu
def test_a_gpu_reports_its_peak_memory(tmp_path):
    result = run(Benchmark(steps=1, rounds=1, device="cuda", output=tmp_path / "out.json"))
    assert result["peak_bytes"]["ours"] < result["peak_bytes"]["reference"]


def test_every_shape_is_a_choice_and_its_step_is_its_own_but_for_what_is_asked():
    assert get_args(get_type_hints(Benchmark)["shape"]) == tuple(SHAPES)
    size = loops.Size.of("flux", batch_size=2, precision=None)
    assert (size.resolution, size.batch_size, size.precision) == (512, 2, "bf16")
    assert (size.parameter_group, size.gradient_checkpointing) == ("lora", True)
    assert loops.Size.of("miniature") == loops.Size()


def test_a_loop_that_the_memory_is_too_small_for_is_said_to_have_no_room():
    device = torch.device("cpu")

    @contextmanager
    def too_large():
        raise torch.OutOfMemoryError
        yield

    @contextmanager
    def small():
        yield lambda: None

    seconds, peak = loops.alternating({"ours": small, "reference": too_large}, 1, 2, device)
    assert seconds["ours"] >= 0
    assert seconds.keys() == peak.keys() == {"ours"}
    result = {"step_seconds": {"ours": 1.0}, "job_seconds_from_parts": None, "peak_bytes": None}
    result |= {"divergence_ratio": {}, "step_flops": 2e12, "flop_utilisation": 0.5, "growth": None}
    said = "\n".join(rows(result))
    assert "1     no room" in said
    assert "not measured: the memory is too small for it" in said
    assert "FLOP utilisation 0.50" in said


def test_attention_counts_on_a_cpu_and_known_devices_have_a_peak():
    query, key = torch.zeros(2, 3, 5, 8, requires_grad=True), torch.zeros(2, 3, 7, 8)
    with flops() as counter:
        output = torch.nn.functional.scaled_dot_product_attention(query, key, key)
    assert counter.get_total_flops() == 2 * 2 * (2 * 3 * 5 * 7 * 8)
    with flops() as counter:
        output.sum().backward()
    assert counter.get_total_flops() == 5 * 2 * (2 * 3 * 5 * 7 * 8)
    assert peak_tflops("cuda:0 (NVIDIA H100 80GB HBM3, 8 threads)", "bf16") == 989
    assert peak_tflops("cuda:0 (NVIDIA H100 PCIe, 8 threads)", "bf16") == 756
    assert peak_tflops("cuda:0 (NVIDIA H100 PCIe, 8 threads)", "fp32") == 0
    assert peak_tflops("cpu (x86_64, 2 threads)", "bf16") == 0
