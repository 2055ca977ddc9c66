"""The command line of the trainer, end to end."""

import json
import math
import re
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from safetensors import safe_open
from safetensors.torch import load_file

from harness import train, unlearn
from harness.config import Config
from harness.data import once
from harness.loss import critic
from harness.runs.folder import run_folder
from harness.show import figures
from tests import tiny

FAST = ["--steps", "2", "--batch-size", "2", "--latents", "4", "--sampling-steps", "1", *tiny.UNOPPOSED]
RECIPE = ("--origin", "anchor", "--parameter-group", "cross-attention-kv", "--divergence", "squared_hellinger")
FILES = {
    "run.json", "prompts.json", "steps.jsonl", "metrics.json", "report.html", "before_after.png", "pictures",
    "curves.png", "unet_delta.safetensors", "local.json", ".gitignore",
}  # fmt: skip


@pytest.fixture
def erase(model, tmp_path, capsys):
    """Run the command line on the tiny model; gives the exit code, the run folder, and what it printed."""

    def call(*flags, output="run"):
        arguments = ["--model", str(model), "--target", "a star", "--anchor", "a circle"]
        arguments += [] if "--retain-weight" in flags else ["--retain", "a moon", "a ring"]
        code = unlearn.main([*arguments, *FAST, "--output", str(tmp_path / output), *flags])
        return code, tmp_path / output, capsys.readouterr()

    return call


def _rows(folder):
    return [json.loads(line) for line in (folder / "steps.jsonl").read_text().splitlines()]


def test_a_run_leaves_a_finished_folder_and_a_last_screen(finished):
    _, folder, screen = finished
    assert {file.name for file in folder.iterdir()} == FILES | {"pipeline"}
    assert len({file.stat().st_mode for file in folder.iterdir() if file.is_file()}) == 1
    assert not list(folder.parent.glob(".run*"))
    assert all((folder / name).read_bytes().startswith(b"\x89PNG") for name in FILES if name.endswith("png"))
    summary = json.loads((folder / "run.json").read_text())
    assert summary["config"]["target"] == "a star"
    assert summary["versions"]["torch"] == torch.__version__
    assert min(summary["seconds"]["training"], summary["forwards"]) > 0
    assert summary["peak_memory_bytes"] > 2**20
    assert '"a star" led towards "a circle" with squared_hellinger, 25 steps.' in screen
    assert "Options: --model" in screen
    assert "--retain 'a moon' 'a ring' --latents 4" in screen
    assert str(folder) in screen


def test_the_steps_record_quantiles_of_s_and_of_the_relative_weight(finished):
    rows = _rows(finished[1])
    assert [row["step"] for row in rows] == [1, 10, 20, 25]
    for row in rows:
        assert row["s"] == sorted(row["s"])
        assert all(0 < ratio < 1 for ratio in row["relative_weight"])
        assert row["skipped"] == 0


def test_the_delta_is_what_training_changed_and_names_its_origin(finished, model):
    _, folder, _ = finished
    before = UNet2DConditionModel.from_pretrained(model / "unet").state_dict()
    after = UNet2DConditionModel.from_pretrained(folder / "pipeline" / "unet").state_dict()
    delta = load_file(folder / "unet_delta.safetensors")
    for name in before:
        assert torch.equal(after[name], delta.get(name, before[name]))
        assert (name in delta) == bool(re.search(r"attn2\.to_[kv]", name))
    with safe_open(folder / "unet_delta.safetensors", "pt") as file:
        assert file.metadata()["divergence"] == "squared_hellinger"
        assert file.metadata()["target"] == "a star"


def test_a_saved_pipeline_loads_in_diffusers_and_samples(finished):
    pipeline = StableDiffusionPipeline.from_pretrained(finished[1] / "pipeline")
    pipeline.set_progress_bar_config(disable=True)
    assert pipeline("a star", num_inference_steps=2, output_type="pt").images.shape == (1, 3, 16, 16)


@pytest.mark.parametrize("kind", ["closed_form", "variational"])
def test_one_seed_gives_one_result_and_another_seed_another(erase, monkeypatch, kind):
    monkeypatch.setattr(critic, "WARM_UP", 8)
    results = []
    for output, seed in [("a", "0"), ("b", "0"), ("c", "1")]:
        _, folder, _ = erase("--seed", seed, "--objective", kind, output=output)
        results.append(
            torch.cat([tensor.flatten() for tensor in load_file(folder / "unet_delta.safetensors").values()])
        )
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


@pytest.mark.parametrize(
    "flags",
    [
        ["--adversary-every", "1", "--relearning-steps", "1"],
        ["--adversary-every", "2", "--relearning-steps", "3", "--objective", "variational", "--precision", "bf16"],
        ["--adversary-every", "1", "--relearning-steps", "2", "--parameter-group", "attention", "--anchor", "retained"],
        ["--closed-form-every", "1", "--parameter-group", "cross-attention-kv", "--objective", "variational"],
        ["--objective", "variational", "--divergence", "jensen_shannon"],
        ["--divergence", "alpha:a=0.3", "--scale", "unit"],
        ["--divergence", "total_variation"],
        ["--divergence", "kl", "--scale", "posterior"],
        ["--parameter-group", "cross-attention", "--precision", "bf16"],
        ["--parameter-group", "full", "--retain-weight", "0"],
        ["--origin", "anchor"],
        ["--origin", "anchor", "--anchor-guidance", "2"],
        ["--anchor", "a star", "--anchor-guidance", "-1"],
        ["--anchor", "a star", "--anchor-guidance", "0"],
    ],
    ids=" ".join,
)
def test_every_kind_of_run_reaches_its_end_and_moves_the_weights(erase, model, flags):
    code, folder, _ = erase(*flags)
    assert code == 0
    delta = load_file(folder / "unet_delta.safetensors")
    assert all(tensor.isfinite().all() for tensor in delta.values())
    before = UNet2DConditionModel.from_pretrained(model / "unet").state_dict()
    assert any(not torch.equal(tensor, before[name]) for name, tensor in delta.items())


def test_training_brings_the_target_to_the_anchor(erase):
    _, folder, _ = erase("--steps", "60", "--batch-size", "8", "--learning-rate", "2e-3", *RECIPE)
    rows = _rows(folder)
    assert rows[-1]["s"][1] < 0.5 * rows[0]["s"][1]


def test_the_calibrated_scale_starts_at_the_decisive_s(erase):
    _, folder, _ = erase("--batch-size", "16", "--learning-rate", "1e-9", "--steps", "1", *RECIPE)
    assert _rows(folder)[0]["s"][1] == pytest.approx(8.0, rel=0.4)


def test_a_run_that_never_leaves_the_mse_regime_says_so(erase):
    _, folder, printed = erase("--scale", "unit", *RECIPE)
    assert "the choice of divergence made no difference" in printed.out
    assert "--scale auto" in json.loads((folder / "run.json").read_text())["warning"]


def test_kl_is_said_to_be_mse_by_theorem_and_hellinger_at_its_scale_is_not(erase):
    assert "is MSE itself" in erase("--divergence", "kl", output="kl")[2].out
    assert "Note:" not in erase("--divergence", "squared_hellinger", output="h")[2].out


def test_an_existing_run_is_refused_and_replaced_only_on_demand(erase):
    _, folder, _ = erase()
    assert {file.name for file in folder.iterdir()} == FILES
    before = (folder / "run.json").read_text()
    code, _, printed = erase("--seed", "1")
    assert code == 2
    assert "exists already; choose another folder, or --overwrite" in printed.err
    assert (folder / "run.json").read_text() == before
    assert erase("--seed", "1", "--overwrite")[0] == 0
    assert (folder / "run.json").read_text() != before


def test_a_run_that_finishes_second_does_not_replace_the_first(erase, monkeypatch, tmp_path):
    """Two runs that started on a free folder: the later one keeps its result aside and says where."""
    curves = figures.curves

    def meanwhile(*arguments):
        (tmp_path / "run").mkdir(exist_ok=True)
        (tmp_path / "run" / "run.json").write_text("first")
        curves(*arguments)

    monkeypatch.setattr(figures, "curves", meanwhile)
    code, folder, printed = erase()
    assert code == 2
    assert "another run has finished there meanwhile; what was written so far is kept in" in printed.err
    assert (folder / "run.json").read_text() == "first"
    assert (next(tmp_path.glob(".run.unfinished*")) / "unet_delta.safetensors").is_file()


def test_a_folder_that_is_no_run_is_never_overwritten(erase, tmp_path):
    precious = tmp_path / "thesis" / "chapter.txt"
    precious.parent.mkdir()
    precious.write_text("years of work")
    code, _, printed = erase("--overwrite", output="thesis")
    assert code == 2
    assert "no run folder and will not be overwritten" in printed.err
    assert precious.read_text() == "years of work"


def test_an_interrupted_run_keeps_what_it_wrote_and_takes_no_ones_place(erase, monkeypatch, tmp_path):
    monkeypatch.setattr(figures, "curves", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full") as caught:
        erase()
    assert "what was written so far is kept in" in caught.value.__notes__[0]
    assert not (tmp_path / "run").exists()
    assert (next(tmp_path.glob(".run.unfinished*")) / "unet_delta.safetensors").is_file()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--divergence", "helinger"], "unknown divergence 'helinger'; did you mean hellinger"),
        (["--divergence", "alpha:a=99"], "a=99 is outside a in [-32, 32]"),
        (["--divergence", "alpha"], "alpha"),
        (["--divergence", "u.real"], "not allowed"),
        (["--divergence", "nowhere.py:mine"], "nowhere.py: no such file"),
        (["--anchor", "A STAR"], "equal to the target"),
        (["--model", "/no/such/folder"], "no such folder"),
        (["--model", str(Path(__file__).parent)], "no model_index.json"),
        (["--device", "cuda:99"], "--device cuda:99: torch sees"),
        (["--target", "a star " * 40], "more than the tokenizer's limit of 77"),
        (["--sampling-steps", "2000"], "this model has 1000 time steps"),
        (["--sampling-steps", "1000"], "this model has 1000 time steps"),
        (["--device", "meta"], "--device meta: not supported; choices: auto, cpu"),
        (["--steps", "0"], "--steps 0: must be a count from 1"),
        (["--stop-when", "UA>0.9"], "--stop-when 'UA>0.9': expected conditions such as"),
        (["--stop-when", "UA>=0.9"], "holds no judge"),
        (["--continue", "/no/run"], "/no/run: no finished run"),
        (["--prompts", "/no/file"], "--prompts /no/file: cannot be read as text: [Errno 2]"),
        (["--retain-weight", "0", "--retain", "a moon"], "--retain-weight 0 keeps nothing"),
        (["--retain", "The star"], "--retain 'The star': is to be erased, with 'a star'"),
        (["--retain", "a photo of a star"], "--retain 'a photo of a star': is to be erased"),
        (["--target", "caf\udce9"], "--target 'caf\\udce9': no text"),
        (["--stop-when", "UA>=1.5"], "--stop-when 'UA>=1.5': expected conditions"),
        (["--anchor-guidance", "-1"], "--anchor 'a circle': an --anchor-guidance of -1 leads away"),
        (["--anchor", "A  star"], "equal to the target"),
        (["--learning-rate", "3"], "--learning-rate 3.0: must be above 0 and at most 1"),
        (["--model", "~nosuchuser/x"], "--model '~nosuchuser/x': no name of a file"),
        (["--model", "x" * 300], "no name of a file"),
        (["--resume", "~nosuchuser/x"], "--resume '~nosuchuser/x': no name of a file"),
        (["--resume", "/no/run", "--continue", "/no/run"], "a run that is resumed has the options"),
    ],
    ids=lambda value: value[1][:12] if isinstance(value, list) else "",
)
def test_bad_input_is_one_line_with_exit_code_2_and_no_work(erase, tmp_path, flags, message):
    code, folder, printed = erase(*flags)
    assert code == 2
    *before, last = printed.err.strip().splitlines()
    assert message in last
    assert last.startswith("error: ")
    assert all(line.startswith("1 of 6, loading: ") for line in before)  # what only the model can say
    assert not folder.exists()
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("divergence", ["u*log(u) - u + 1", "{file}:mine"], ids=["expression", "file"])
def test_a_divergence_of_ones_own_trains_through_the_same_gate(erase, tmp_path, divergence):
    file = tmp_path / "divergences.py"
    file.write_text("import sympy\nfrom fdiv import u\n\nmine = u * sympy.log(u) - u + 1\n")
    _, catalogued, _ = erase("--divergence", "kl", output="kl")
    code, folder, _ = erase("--divergence", divergence.format(file=file))
    assert code == 0
    ours, theirs = (load_file(at / "unet_delta.safetensors") for at in (folder, catalogued))
    assert all(torch.allclose(ours[name], theirs[name], atol=1e-6) for name in theirs)


@pytest.mark.parametrize("name", ["x" * 250, "a\0b", "link"])
def test_an_output_that_cannot_be_is_refused_before_any_work(erase, tmp_path, name):
    (tmp_path / "link").symlink_to("/nonexistent/z")
    code, _, printed = erase(output=name)
    assert code == 2
    assert printed.err.startswith("error: --output")
    assert "loading" not in printed.err


def test_a_generator_that_is_not_convex_trains_nothing(erase):
    code, folder, printed = erase("--divergence", "u*log(u)**2")
    assert code == 1
    assert printed.err.startswith("refused: ")
    assert not folder.exists()


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_gpu_erases_like_the_cpu(erase, precision):
    _, on_cpu, _ = erase("--device", "cpu", output="cpu")
    code, folder, _ = erase("--device", "cuda", "--precision", precision)
    assert code == 0
    assert json.loads((folder / "run.json").read_text())["peak_memory_bytes"] > 0
    ours, theirs = (load_file(at / "unet_delta.safetensors") for at in (folder, on_cpu))
    tolerance = 1e-4 if precision == "fp32" else 2e-3  # three AdamW steps of 5e-4 move a weight by at most 1.5e-3
    assert all(torch.allclose(ours[name], theirs[name], atol=tolerance) for name in theirs)


def test_a_skipped_step_leaves_the_weights_as_they_were(erase, monkeypatch):
    """One good step, then losses that are not finite: the optimiser's momentum must not move anything."""
    calls, good = [], train.erasure_loss

    def one_good(*arguments):
        calls.append(good(*arguments))
        return calls[-1] * (1 if len(calls) == 1 else math.nan)

    monkeypatch.setattr(train, "erasure_loss", one_good)
    _, one, _ = erase("--steps", "1", output="one")
    calls.clear()
    _, many, _ = erase("--steps", "4", output="many")
    assert sum(row["skipped"] for row in _rows(many)) == 3
    first, last = (load_file(folder / "unet_delta.safetensors") for folder in (one, many))
    assert all(torch.equal(first[name], last[name]) for name in first)


def test_a_run_whose_every_loss_overflows_stops_with_the_reason(erase):
    """Five skipped steps are enough: the weights and the checkpoint of the last good one are kept."""
    code, folder, printed = erase(*RECIPE, "--divergence", "pearson", "--learning-rate", "1", "--steps", "40")
    assert code == 3
    assert re.search(
        r"stopped: 5 steps in a row were not finite, up to step \d+: .*erasure loss.* in fp32", printed.err
    )
    assert re.search(r"s was \S+, \S+, \S+ at its 10, 50 and 90 % quantiles.* use --scale auto", printed.err)
    assert not folder.exists()
    (unfinished,) = folder.parent.glob(".run.unfinished-*")
    delta = load_file(unfinished / "unet_delta.safetensors")
    assert all(tensor.isfinite().all() for tensor in delta.values())
    (saved,) = (unfinished / "resume").glob("step-*.safetensors")
    kept = load_file(saved)
    assert all(torch.equal(kept[f"trained/{name}"], delta[name]) for name in delta)


def test_the_default_run_folder_is_named_after_target_divergence_and_objective(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run_folder(Config(), "Van Gogh", "alpha:a=0.3") == Path("runs/van-gogh-alpha-a=0.3-closed_form")


def test_a_second_run_samples_nothing_that_the_first_has_and_ends_the_same(judged, tmp_path, monkeypatch):
    """Whatever no erasure changes comes from the cache; with --no-cache nothing does."""
    monkeypatch.setenv("FDIV_CACHE", str(tmp_path / "cache"))
    sampled, sample, finish = [], once.sample, once.finish

    def counted(model, prompts, embeddings, options, seed, output, desc):
        sampled.append(desc)
        return sample(model, prompts, embeddings, options, seed, output, desc)

    monkeypatch.setattr(once, "sample", counted)
    monkeypatch.setattr(once, "finish", lambda *given: sampled.append("counterparts") or finish(*given))
    wanted = ["pictures before", "target latents", "counterparts", "retained latents"]
    for name, flags, expected in (("one", [], wanted), ("two", [], []), ("three", ["--no-cache"], wanted)):
        sampled.clear()
        assert unlearn.main(["--model", str(judged), "--output", str(tmp_path / name), *FAST, *flags]) == 0
        assert sampled == expected
    for name in ("two", "three"):
        for file in ("unet_delta.safetensors", "metrics.json", "steps.jsonl"):
            assert (tmp_path / name / file).read_bytes() == (tmp_path / "one" / file).read_bytes()
