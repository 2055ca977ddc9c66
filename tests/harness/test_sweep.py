"""Many erasures of one concept, side by side."""

import json
import shutil

import pytest

from harness import sweep
from harness.config import Config, UsageError
from harness.loss import critic
from tests import tiny

SIZES = {"steps": 2, "latents": 2, "sampling_steps": 1, "batch_size": 1, "learning_rate": 0.05}
FAST = SIZES | {"adversary_every": 0, "relearning_steps": 0}
FLAGS = [f"--base.{name.replace('_', '-')}={value}" for name, value in FAST.items()]


@pytest.fixture
def small(judged, tmp_path):
    """A sweep of two runs on a model with a judge."""
    base = Config(model=str(judged), **FAST)
    return sweep.Sweep(
        divergences=("kl", "pearson"), variational=(), scales=("unit",), seeds=1, output=tmp_path / "s", base=base
    )


def test_a_sweep_leaves_a_folder_a_run_and_a_table_of_medians(judged, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(critic, "WARM_UP", 8)
    out = tmp_path / "sweep"
    arguments = ["--base.model", str(judged), "--divergences", "kl", "--variational", "kl", "--scales", "unit"]
    arguments += ["--origins", "target", "anchor", "--baselines", "uce", "--seeds", "2", "--output", str(out), *FLAGS]
    assert sweep.main(arguments) == 0
    runs = sorted(folder.name for folder in out.iterdir() if folder.is_dir())
    assert runs == sorted(
        [
            f"ours-kl-{objective}-unit-{origin}-{seed}"
            for objective in ("closed_form", "variational")
            for origin in ("target", "anchor")
            for seed in (0, 1)
        ]
        + [f"uce-kl-closed_form-unit-anchor-{seed}" for seed in (0, 1)]
    )
    assert all((out / run / "report.html").is_file() for run in runs)
    assert (out / ".gitignore").read_text() == "local.json\n"
    table = (out / "table.md").read_text()
    printed = capsys.readouterr()
    assert table.strip() in printed.out
    assert [f"run {i} of 10: {out}" in printed.err for i in range(1, 12)] == [True] * 10 + [False]
    assert "| ours | kl | variational | unit | anchor | 2 |" in table
    found = [out / f"uce-kl-closed_form-unit-anchor-{seed}" / "metrics.json" for seed in (0, 1)]
    accuracies = [json.loads(file.read_text())["unlearning_accuracy"]["erased"] for file in found]
    (line,) = [line for line in table.splitlines() if line.startswith("| uce ")]
    assert f"| {sum(accuracies) / 2:.3f} ({min(accuracies):.3f} to {max(accuracies):.3f}) |" in line


def test_a_run_of_a_model_that_says_its_number_of_tokens_is_known_again(tmp_path):
    source = tiny.judged_folder(tmp_path / "model", "sd35")
    file = source / "vocabulary.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"max_sequence_length": tiny.SHORT}))
    base = Config(model=str(source), **FAST)
    asked = sweep.Sweep(
        divergences=("kl",), variational=(), scales=("unit",), seeds=1, output=tmp_path / "s", base=base
    )
    assert sweep.run(asked) == sweep.run(asked)


def test_what_is_finished_is_not_run_again_and_what_was_interrupted_goes_on(small, monkeypatch):
    first = sweep.run(small)
    folders = [small.output / f"ours-{name}-closed_form-unit-target-0" for name in ("kl", "pearson")]
    before = [(folder / "unet_delta.safetensors").stat().st_mtime_ns for folder in folders]
    weights = (folders[1] / "unet_delta.safetensors").read_bytes()
    assert sweep.run(small) == first
    assert [(folder / "unet_delta.safetensors").stat().st_mtime_ns for folder in folders] == before

    from harness.train import Trainer

    shutil.rmtree(folders[1])
    taken = Trainer.take_step

    def dies(trainer):
        if trainer.step == 1:
            raise KeyboardInterrupt
        return taken(trainer)

    again = sweep.Sweep(**{**vars(small), "base": Config(**{**vars(small.base), "checkpoint_every": 1})})
    folders[0].rename(folders[0].with_name("aside"))
    monkeypatch.setattr(Trainer, "take_step", dies)
    with pytest.raises(KeyboardInterrupt):
        sweep.run(again)
    begun = []
    monkeypatch.setattr(Trainer, "take_step", lambda trainer: begun.append(trainer.step) or taken(trainer))
    sweep.run(again)
    assert begun == [1, 0, 1]  # the first went on, the second had not begun
    assert (folders[1] / "unet_delta.safetensors").read_bytes() == weights


def test_of_several_unfinished_runs_of_one_kind_none_is_taken_for_the_sweeps(small):
    for end in ("a", "b"):
        folder = small.output / f".ours-kl-closed_form-unit-target-0.unfinished-{end}" / "resume"
        folder.mkdir(parents=True)
        (folder / "options.json").write_text("{}")
    with pytest.raises(UsageError, match="several unfinished runs; name one"):
        sweep.run(small)


def test_each_part_does_its_own_and_the_last_has_the_table(small):
    first, second = (sweep.Sweep(**{**vars(small), "part": f"{i}/2"}) for i in (1, 2))
    assert [row["divergence"] for row in sweep.run(first)] == ["kl"]
    assert [row["divergence"] for row in sweep.run(second)] == ["kl", "pearson"]


def test_a_run_with_other_options_is_not_taken_for_one_of_the_sweeps(small):
    sweep.run(small)
    other = sweep.Sweep(**{**vars(small), "base": Config(**{**vars(small.base), "latents": 3})})
    with pytest.raises(UsageError, match="a run with another latents; choose another folder"):
        sweep.run(other)


def test_a_baseline_is_what_its_paper_says():
    runs = {
        run.method: run.options for run in sweep.configurations(sweep.Sweep(baselines=tuple(sweep.BASELINES), seeds=1))
    }
    ablation, esd, uce = runs["concept_ablation-0.0003"], runs["esd-0.001"], runs["uce"]
    assert {each.parameter_group for each in (ablation, esd, uce)} == {"cross-attention-kv"}
    assert {(each.divergence, each.scale) for each in (ablation, esd, uce)} == {("kl", "unit")}
    for each in (ablation, esd, uce):
        assert (each.adversary_every, each.closed_form_every, each.relearning_steps) == (0, 0, 0)
    assert (ablation.origin, ablation.anchor_guidance, ablation.learning_rate) == ("anchor", 1.0, 3e-4)
    assert (esd.origin, esd.anchor_guidance, esd.learning_rate) == ("target", -1.0, 1e-3)
    assert (uce.start, uce.steps) == ("closed-form", 0)


def test_the_picture_shows_both_gaps(small, tmp_path):
    def gap(value):
        return {"value": value, "interval": [0, 1]}

    def row(name, forgetting, collateral):
        gaps = {"forgetting_gap": forgetting, "collateral_gap": collateral}
        kind = dict(zip(sweep.KIND, ("ours", name, "closed_form", "auto", "target"), strict=True))
        return kind | {"gaps": {key: value is not None and gap(value) for key, value in gaps.items()}}

    sweep.pareto(tmp_path / "p.png", [row("kl", None, 0.1)])
    assert not (tmp_path / "p.png").exists()  # no attacks, so no gap
    sweep.pareto(tmp_path / "p.png", [row("kl", 0.2, 0.1), row("kl", 0.3, 0.2), row("pearson", 0.1, 0.0)])
    assert (tmp_path / "p.png").stat().st_size > 5000


def test_a_run_without_gaps_leaves_the_point_of_its_kind_to_the_others(tmp_path, monkeypatch):
    drawn = {}
    monkeypatch.setattr("harness.show.figures.trade_off", lambda _, points: drawn.update(points))
    kind = dict(zip(sweep.KIND, ("ours", "kl", "closed_form", "auto", "target"), strict=True))
    gap = {"value": 0.2, "interval": [0.1, 0.4]}
    rows = [kind | {"gaps": dict.fromkeys(sweep.GAPS, each)} for each in (gap, None)]
    sweep.pareto(tmp_path / "p.png", rows)
    assert drawn == {("kl, auto", "target"): ((0.1, 0.2, 0.4),) * 2}


@pytest.mark.parametrize(
    ("code", "flags", "message"),
    [
        (2, ["--divergences", "kl", "helinger"], "error: unknown divergence 'helinger'"),
        (2, ["--base.steps=0"], "error: --steps 0"),
        (2, ["--part", "3/2"], "error: --part '3/2': needed is which of how many"),
        (2, ["--baselines", "erasediff"], "error: --baselines 'erasediff': choices: concept_ablation, esd, uce"),
        (1, ["--divergences", "u*log(u)**2"], "refused: "),
    ],
)  # fmt: skip
def test_a_bad_sweep_is_refused_before_any_run_with_the_trainers_exit_codes(
    judged, tmp_path, capsys, code, flags, message
):
    arguments = ["--base.model", str(judged), "--output", str(tmp_path / "s"), *FLAGS, *flags]
    assert sweep.main(arguments) == code
    assert message in capsys.readouterr().err
    assert not (tmp_path / "s").exists()
