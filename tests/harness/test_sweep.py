"""Many erasures of one concept, side by side."""

import json

import pytest

from harness import sweep
from harness.config import Config
from harness.judging.metric import metrics
from harness.loss import critic

FAST = ["--base.steps", "2", "--base.latents", "2", "--base.sampling-steps", "1", "--base.batch-size", "1"]
FAST += ["--base.adversary-every", "0", "--base.relearning-steps", "0"]


def test_a_sweep_writes_every_run_and_prints_medians(judged, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(critic, "WARM_UP", 8)
    out = tmp_path / "sweep.json"
    arguments = [
        "--base.model",
        str(judged),
        "--divergences",
        "kl",
        "pearson",
        "--variational",
        "kl",
        "--scales",
        "unit",
    ]
    assert sweep.main([*arguments, "--seeds", "2", "--output", str(out), *FAST]) == 0
    rows = json.loads(out.read_text())["rows"]
    assert [(row["divergence"], row["objective"], row["seed"]) for row in rows] == [
        (name, kind, seed)
        for seed in (0, 1)
        for name, kind in [("kl", "closed_form"), ("pearson", "closed_form"), ("kl", "variational")]
    ]
    printed = capsys.readouterr().out
    assert "| kl | closed_form | unit | 2 |" in printed
    assert "| original |" in printed


def test_every_run_of_a_sweep_starts_from_the_original_weights(judged, tmp_path):
    """The same configuration first and last gives the same metrics."""
    swept = sweep.Sweep(
        divergences=("kl", "pearson", "kl"), variational=(), scales=("unit",), seeds=1, output=tmp_path / "s.json",
        base=Config(
            model=str(judged), steps=2, latents=2, sampling_steps=1, batch_size=1, learning_rate=0.05,
            adversary_every=1, relearning_steps=1,
        ),
    )  # fmt: skip
    rows = sweep.run(swept)
    assert rows[0]["metrics"] == rows[2]["metrics"]


def test_the_table_holds_medians_and_says_what_stopped():
    def row(ua, seed):
        cell = {"erased": ua, "original": 0.0, "oracle": None}
        return {
            "divergence": "kl", "objective": "closed_form", "scale": "auto", "seed": seed, "seconds": 1.0,
            "metrics": dict.fromkeys((metric.name for metric in metrics()), cell),
        }  # fmt: skip

    stopped = {"divergence": "pearson", "objective": "closed_form", "scale": "auto", "seed": 0, "stopped": "overflow"}
    lines = sweep.table([row(0.2, 0), row(0.9, 1), row(0.4, 2), stopped]).splitlines()
    assert lines[2] == "| kl | closed_form | auto | 3 |" + " 0.4 |" * len(metrics()) + " 1 |"
    assert lines[3].startswith("| pearson | closed_form | auto | 1 | stopped")
    assert lines[5].startswith("| oracle | | | | - |")


@pytest.mark.parametrize(
    ("code", "flags", "message"),
    [
        (2, ["--divergences", "kl", "helinger"], "error: unknown divergence 'helinger'"),
        (2, ["--base.steps", "0"], "error: --steps 0"),
        (1, ["--divergences", "u*log(u)**2"], "refused: "),
    ],
)
def test_a_bad_sweep_is_refused_before_any_run_with_the_trainers_exit_codes(
    judged, tmp_path, capsys, code, flags, message
):
    arguments = ["--base.model", str(judged), "--output", str(tmp_path / "s.json"), *FAST[2:], *flags]
    assert sweep.main(arguments) == code
    assert message in capsys.readouterr().err
    assert not (tmp_path / "s.json").exists()
