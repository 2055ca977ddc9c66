"""A run killed by the system at any moment goes on to the very same files."""

import json
import multiprocessing
import os
import random
import signal
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from harness import prepare, unlearn
from harness.loss import critic, soft_prompts
from harness.runs import checkpoint
from harness.show import figures
from harness.train import Trainer

SAME = ("steps.jsonl", "metrics.json", "before_after.png")
STEPS = 24
FAST = ["--steps", str(STEPS), "--checkpoint-every", "3", "--batch-size", "2", "--latents", "4"]
FAST += ["--sampling-steps", "1", "--target", "star", "--learning-rate", "0.01"]
FAST += ["--adversary-every", "5", "--relearning-steps", "7"]  # so that checkpoints are in the middle of both
KINDS = ("closed_form", "variational")
CONTEXT = multiprocessing.get_context("forkserver")  # processes of their own, which share one import of torch
CONTEXT.set_forkserver_preload(["harness.train", "harness.prepare", "harness.show.figures"])


@pytest.fixture(scope="module", params=KINDS)
def whole(request, judged, tmp_path_factory):
    """The flags of a run, and the folder that it leaves when nothing interrupts it."""
    flags = ["--model", str(judged), "--objective", request.param, *FAST]
    folder = tmp_path_factory.mktemp(request.param) / "run"
    assert _process([*flags, "--output", str(folder)], folder.with_name("log")) == 0
    return flags, folder


def _process(arguments, log, moment="", step=0, number=signal.SIGKILL):
    """Run the command line in another process, which gets a signal at a moment of a step; gives its exit code."""
    process = CONTEXT.Process(target=_main, args=(arguments, log, moment, step, number))
    process.start()
    process.join(300)
    assert process.exitcode is not None
    return process.exitcode


def _main(arguments, log, moment, step, number):
    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    torch.set_num_threads(1)
    critic.WARM_UP, soft_prompts.STEPS = 8, 2
    module, name = {"step": (Trainer, "take_step"), "save": (checkpoint, "_digest"), "end": (figures, "curves")}.get(
        moment, (None, "")
    )
    if module:
        original = getattr(module, name)

        def hooked(first, *others):
            now = {
                "step": lambda: first.step + 1 == step,
                "save": lambda: first.name == f"step-{step:09}.part",
                "end": lambda: True,
            }
            if now[moment]():
                os.kill(os.getpid(), number)
            return original(first, *others)

        setattr(module, name, hooked)
    sys.exit(unlearn.main(arguments))


def _assert_equal(folder, other):
    for name in SAME:
        assert (folder / name).read_bytes() == (other / name).read_bytes(), name
    ours, theirs = (load_file(at / "unet_delta.safetensors") for at in (folder, other))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert {file.name for file in folder.iterdir()} == {file.name for file in other.iterdir()}
    assert json.loads((folder / "metrics.json").read_text())


def _killed(whole, tmp_path, moments):
    """Kill one run at each moment, resume it every time, and compare what it comes to."""
    flags, folder = whole
    output, log = tmp_path / "run", tmp_path / "log"
    arguments = [*flags, "--output", str(output)]
    for moment, step in moments:
        assert _process(arguments, log, moment, step) == -signal.SIGKILL, log.read_text()
        assert not output.exists()
        arguments = ["--resume", str(output)]
    assert _process(arguments, log) == 0, log.read_text()
    _assert_equal(output, folder)
    assert not list(tmp_path.glob(".run*"))


def test_a_run_killed_in_a_step_in_a_save_and_at_its_end_comes_to_the_same_files(whole, tmp_path):
    """Step 2 is before the first checkpoint, 12 in the midst of one; the rows of steps.jsonl end at 10 and 20."""
    first, last = random.Random(0).randrange(4, 12), random.Random(1).randrange(13, STEPS)
    _killed(whole, tmp_path, [("step", first), ("save", 12), ("step", last), ("end", 0)])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_a_run_killed_at_random_steps_comes_to_the_same_files(whole, tmp_path, seed):
    drawn = random.Random(seed)
    steps = sorted(drawn.sample(range(1, STEPS + 1), 3))
    _killed(whole, tmp_path, [(drawn.choice(["step", "step", "save"]) if k % 3 == 0 else "step", k) for k in steps])


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_step_saves_it_and_says_how_to_go_on(judged, tmp_path, number, code):
    flags = ["--model", str(judged), *FAST, "--output", str(tmp_path / "run"), "--checkpoint-every", "1000"]
    assert _process(flags, tmp_path / "log", "step", 5, number) == code
    (unfinished,) = tmp_path.glob(".run.unfinished-*")
    line = (tmp_path / "log").read_text().splitlines()[-1]
    assert line.startswith(f"interrupted: by {number.name}; what was written so far is kept in")
    assert line.endswith(f"to go on: python -m harness.unlearn --resume {unfinished}")
    (saved,) = (unfinished / "resume").glob("step-*.safetensors")
    assert saved.name.startswith("step-000000005-")


def test_a_signal_before_training_ends_the_run_at_once(judged, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(prepare.Prepared, "references", lambda _: os.kill(os.getpid(), signal.SIGTERM))
    before = signal.getsignal(signal.SIGTERM)
    assert unlearn.main(["--model", str(judged), *FAST, "--output", str(tmp_path / "run")]) == 143
    assert capsys.readouterr().err.splitlines()[-1] == "interrupted: by SIGTERM"
    assert not list(Path(tmp_path).iterdir())
    assert signal.getsignal(signal.SIGTERM) is before
