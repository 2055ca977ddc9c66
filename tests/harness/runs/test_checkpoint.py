"""What goes wrong with an unfinished run is one clear line, and nothing of it is lost."""

import errno
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from safetensors.torch import load_file, save_file

from harness import train, unlearn
from harness.config import Config
from harness.data import once
from harness.models import load as models
from harness.runs import command, folder
from harness.train import Trainer

FLAGS = ["--target", "a star", "--anchor", "a circle", "--retain", "a moon", "--batch-size", "2", "--latents", "4"]
FLAGS += ["--sampling-steps", "1", "--steps", "9", "--checkpoint-every", "2"]
FLAGS += ["--adversary-every", "0", "--relearning-steps", "3"]


@pytest.fixture(scope="module")
def stopped(model, tmp_path_factory):
    """The unfinished folder of a run that broke in step 7, and the weights of one that did not."""
    base = tmp_path_factory.mktemp("runs")
    flags = ["--model", str(model), *FLAGS]
    assert unlearn.main([*flags, "--output", str(base / "whole")]) == 0
    with pytest.MonkeyPatch.context() as patch:
        _break_in_step(patch, 7, ZeroDivisionError("broken"))
        with pytest.raises(ZeroDivisionError):
            unlearn.main([*flags, "--output", str(base / "run")])
    (unfinished,) = base.glob(".run.unfinished-*")
    return unfinished, load_file(base / "whole" / "unet_delta.safetensors")


@pytest.fixture
def unfinished(stopped, tmp_path):
    return shutil.copytree(stopped[0], tmp_path / ".run.unfinished-abc")


@pytest.fixture
def resume(unfinished, stopped, tmp_path, capsys):
    """Go on with a copy of the run; gives its exit code and the last line of what it printed."""

    def call(*flags):
        code = unlearn.main(["--resume", str(tmp_path / "run"), *flags])
        printed = capsys.readouterr()
        if code == 0:
            ours = load_file(tmp_path / "run" / "unet_delta.safetensors")
            assert all(torch.equal(ours[name], each) for name, each in stopped[1].items())
        return code, printed.err.strip().splitlines()[-1], printed.err

    return call


def _break_in_step(patch, step, error):
    take_step = Trainer.take_step

    def broken(trainer):
        if trainer.step + 1 == step:
            raise error
        return take_step(trainer)

    patch.setattr(Trainer, "take_step", broken)


def _checkpoints(unfinished):
    return sorted(unfinished.glob("resume/step-*.safetensors"))


def _contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_two_newest_checkpoints_are_kept_and_nothing_half_written(unfinished):
    assert [path.name[:14] for path in _checkpoints(unfinished)] == ["step-000000004", "step-000000006"]
    assert not list(unfinished.rglob("*.part"))


def test_a_run_goes_on_from_its_folder_from_its_unfinished_one_and_with_its_flags_repeated(resume, unfinished, model):
    output = unfinished.with_name("run")
    assert resume("--model", str(model), *FLAGS, "--output", str(output), "--checkpoint-every", "5")[0] == 0
    assert not (output / "resume").exists()
    code, line, _ = resume()
    assert code == 2
    assert line.endswith("no unfinished run there; it has finished already")


def test_the_name_of_a_run_may_hold_any_character(unfinished, tmp_path):
    unfinished.rename(tmp_path / ".r[u]n*.unfinished-abc")
    assert unlearn.main(["--resume", str(tmp_path / "r[u]n*")]) == 0
    assert (tmp_path / "r[u]n*" / "run.json").is_file()


def test_another_run_with_the_same_output_says_that_one_is_unfinished(unfinished, model, tmp_path, capsys):
    arguments = ["--model", str(model), *FLAGS, "--output", str(tmp_path / "run")]
    assert unlearn.main([*arguments, "--steps", "1"]) == 0
    assert f"note: {unfinished} is an unfinished run, which --resume goes on with" in capsys.readouterr().err
    assert unlearn.main(["--resume", str(tmp_path / "run")]) == 2
    assert f"--resume {tmp_path / 'run'}: exists already; --overwrite to replace it" in capsys.readouterr().err


def test_a_run_folder_behind_a_link_is_replaced_and_the_link_stays(model, tmp_path):
    arguments = ["--model", str(model), *FLAGS, "--steps", "1"]
    assert unlearn.main([*arguments, "--output", str(tmp_path / "real")]) == 0
    (tmp_path / "link").symlink_to(tmp_path / "real")
    before = (tmp_path / "real" / "run.json").read_bytes()
    assert unlearn.main([*arguments, "--output", str(tmp_path / "link"), "--overwrite"]) == 0
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "run.json").read_bytes() != before
    assert {path.name for path in tmp_path.iterdir()} == {"link", "real"}


@pytest.mark.parametrize("damage", ["truncated", "tampered"])
def test_a_damaged_checkpoint_is_noticed_and_the_one_before_taken(resume, unfinished, damage):
    newest = _checkpoints(unfinished)[-1]
    content = bytearray(newest.read_bytes())
    content[-1] ^= 1
    newest.write_bytes(content if damage == "tampered" else content[:-100])
    code, _, printed = resume()
    assert code == 0
    assert f"note: {newest} is damaged; the checkpoint before it is taken" in printed


def test_a_run_whose_every_checkpoint_is_damaged_is_refused_and_kept(resume, unfinished):
    for path in _checkpoints(unfinished):
        path.write_bytes(path.read_bytes()[:-1])
    before = _contents(unfinished)
    code, line, _ = resume()
    assert code == 2
    assert line.startswith("error: --resume: every checkpoint in")
    assert _contents(unfinished) == before
    for path in _checkpoints(unfinished):
        path.unlink()
    assert resume()[0] == 0


def test_sampled_latents_are_read_again_and_damaged_ones_sampled_again(resume, unfinished, monkeypatch):
    kept = {path.name.split("_")[0]: path for path in unfinished.glob("resume/*_latents-*.safetensors")}
    assert set(kept) == {"target", "counterpart", "retained"}
    for name in ("target", "counterpart"):
        kept[name].write_bytes(b"")
    sampled, sample, finish = [], once.sample, once.finish

    def counted(*arguments):
        sampled.append(arguments[-1])
        return sample(*arguments)

    monkeypatch.setattr(once, "sample", counted)
    monkeypatch.setattr(once, "finish", lambda *given: sampled.append("counterpart latents") or finish(*given))
    assert resume("--no-cache")[0] == 0
    assert [each for each in sampled if "latents" in each] == ["target latents", "counterpart latents"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--batch-size", "3"], "--batch-size 3: the run to resume was started with 2; it can change no more than"),
        (["--objective", "variational"], "--objective variational: the run to resume was started with closed_form"),
        (["--output", "elsewhere"], "--output /"),
    ],
)  # fmt: skip
def test_an_option_that_changes_the_result_is_refused(resume, unfinished, flags, message):
    before = _contents(unfinished)
    code, line, _ = resume(*flags)
    assert code == 2
    assert line.startswith(f"error: {message}")
    assert _contents(unfinished) == before


def test_what_may_change_are_options():
    assert set(command.MAY_CHANGE) < {field.name for field in fields(Config)}


@pytest.mark.parametrize("part", ["unet", "text_encoder", "vae", "scheduler"])
def test_another_model_than_the_run_began_with_is_refused(resume, unfinished, monkeypatch, part):
    load = models.load

    def other(*arguments):
        loaded = load(*arguments)
        if part == "scheduler":
            loaded.pipeline.scheduler.register_to_config(prediction_type="v_prediction")
            return loaded
        next(getattr(loaded.pipeline, part).parameters()).data.mul_(1.001)
        return loaded

    before = _contents(unfinished)
    with monkeypatch.context() as patch:
        patch.setattr(models, "load", other)
        code, line, _ = resume()
    assert code == 2
    assert re.search(f"error: --resume: not what this run began with, .*: {part}; .*put it back", line)
    assert "to go on" not in line
    assert _contents(unfinished) == before
    assert resume()[0] == 0


@pytest.mark.parametrize("option", ["--prompts", "--concepts"])
def test_files_that_were_changed_since_the_run_began_are_refused(model, tmp_path, monkeypatch, capsys, option):
    file = tmp_path / "file"
    file.write_text("a big {}\n" if option == "--prompts" else "- {target: a star, anchor: a circle}\n")
    flags = FLAGS[4:] if option == "--concepts" else FLAGS
    with monkeypatch.context() as patch:
        _break_in_step(patch, 7, ZeroDivisionError("broken"))
        with pytest.raises(ZeroDivisionError):
            unlearn.main(["--model", str(model), *flags, option, str(file), "--output", str(tmp_path / "run")])
    was = file.read_text()
    file.write_text(was.replace("big", "small").replace("star", "comet"))
    assert unlearn.main(["--resume", str(tmp_path / "run")]) == 2
    assert re.search("--resume: not what this run began with, .*erased, general; a file", capsys.readouterr().err)
    file.write_text(was)
    assert unlearn.main(["--resume", str(tmp_path / "run")]) == 0


def test_a_divergence_that_was_changed_since_the_run_began_is_refused(model, tmp_path, monkeypatch, capsys):
    file = tmp_path / "mine.py"
    record = "from sympy import log, sqrt\nfrom fdiv import u\nmine = {}\n"
    file.write_text(record.format("u*log(u) - u + 1"))
    flags = ["--model", str(model), *FLAGS, "--divergence", f"{file}:mine", "--output", str(tmp_path / "run")]
    with monkeypatch.context() as patch:
        _break_in_step(patch, 7, ZeroDivisionError("broken"))
        with pytest.raises(ZeroDivisionError):
            unlearn.main(flags)
    file.write_text(record.format("(sqrt(u) - 1)**2"))
    assert unlearn.main(["--resume", str(tmp_path / "run")]) == 2
    assert re.search("--resume: not what this run began with, .*inputs.json: .*mine", capsys.readouterr().err)


def test_a_refusal_before_the_first_checkpoint_keeps_the_run(model, tmp_path, monkeypatch, capsys):
    """And it goes on from any folder, with a scheduler whose file leaves most to its class, as SD 1.5's does."""
    other = shutil.copytree(model, tmp_path / "model")
    schedule = {"_class_name": "DDIMScheduler", "beta_schedule": "scaled_linear", "clip_sample": False}
    (other / "scheduler" / "scheduler_config.json").write_text(json.dumps(schedule | {"steps_offset": 1}))
    (tmp_path / "p.txt").write_text("a big {}\n")
    monkeypatch.chdir(tmp_path)

    def broken(*_):
        raise ZeroDivisionError("broken")

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train", broken)
        with pytest.raises(ZeroDivisionError):
            unlearn.main(["--model", "./model", *FLAGS, "--prompts", "p.txt", "--output", "run"])
    monkeypatch.chdir("/")
    (tmp_path / "p.txt").write_text("a small {}\n")
    for kept in tmp_path.glob(".run.unfinished-*/resume/*latents*"):
        kept.unlink()
    assert unlearn.main(["--resume", str(tmp_path / "run")]) == 2
    (tmp_path / "p.txt").write_text("a big {}\n")
    command_line = [sys.executable, "-m", "harness.unlearn", "--resume", str(tmp_path / "run")]
    environment = os.environ | {"PYTHONHASHSEED": "1", "PYTHONPATH": str(Path(folder.__file__).parents[2])}
    done = subprocess.run(command_line, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr


def test_an_overflowed_run_does_not_succeed_when_it_is_resumed(model, tmp_path, capsys):
    flags = ["--divergence", "pearson", "--learning-rate", "1", "--steps", "40", "--output", str(tmp_path / "run")]
    assert unlearn.main(["--model", str(model), *FLAGS, *flags]) == 3
    assert "to go on" not in capsys.readouterr().err
    assert unlearn.main(["--resume", str(tmp_path / "run")]) == 3
    assert "stopped: 6 steps in a row were not finite" in capsys.readouterr().err


def test_a_second_process_is_kept_out_as_long_as_the_first_lives(resume, unfinished):
    before = _contents(unfinished)
    with FileLock(unfinished / "resume" / "lock"):
        code, line, _ = resume()
    assert code == 2
    assert line == f"error: --resume {unfinished}: another process is at work on it"
    assert _contents(unfinished) == before
    assert resume()[0] == 0


@pytest.mark.parametrize("failing", ["step-000000008.part", "unet_delta.safetensors"])
def test_a_full_disk_loses_nothing(resume, unfinished, monkeypatch, failing):
    def full(tensors, path, metadata):
        if path.name != failing:
            return save_file(tensors, path, metadata)
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    before = _contents(unfinished / "resume")
    with monkeypatch.context() as patch:
        patch.setattr("safetensors.torch.save_file", full)
        code, line, _ = resume()
    assert code == 4
    assert line.startswith("stopped: [Errno 28] No space left on device")
    assert "the disk is full" in line
    assert line.count("--resume") == 1
    assert _checkpoints(unfinished)
    assert not list(unfinished.rglob("*.part"))
    if failing.startswith("step"):
        assert _contents(unfinished / "resume") == before
    assert resume()[0] == 0


def test_an_error_that_is_no_shortage_is_not_hidden(resume, monkeypatch):
    _break_in_step(monkeypatch, 8, OSError(errno.EIO, "Input/output error"))
    with pytest.raises(OSError, match="Input/output"):
        resume()


def test_out_of_memory_names_three_flags_that_exist(resume, monkeypatch):
    _break_in_step(monkeypatch, 8, torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nGPU 0 has"))
    code, line, _ = resume()
    assert code == 4
    assert line.startswith("stopped: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has; ")
    for flag in (["--batch-size", "1"], ["--precision", "bf16"], ["--parameter-group", "cross-attention-kv"]):
        assert flag[0] in line
        command.parse(flag)


@pytest.mark.parametrize("name", ["nothing", ".nothing.unfinished-x"])
def test_there_is_nothing_to_resume_where_nothing_is(tmp_path, capsys, name):
    assert unlearn.main(["--resume", str(tmp_path / name)]) == 2
    assert f"error: --resume {tmp_path / name}: no unfinished run there\n" in capsys.readouterr().err


def test_of_several_unfinished_runs_one_must_be_named(resume, unfinished):
    shutil.copytree(unfinished, unfinished.with_name(".run.unfinished-xyz"))
    code, line, _ = resume()
    assert code == 2
    assert "several unfinished runs; name one" in line
    assert unlearn.main(["--resume", str(unfinished)]) == 0


def test_options_that_cannot_be_read_are_refused(resume, unfinished):
    file = unfinished / "resume" / "options.json"
    options = json.loads(file.read_text())
    for content, message in (
        ('{"model": ', "resume/options.json: cannot be read as JSON"),
        (json.dumps(options | {"augment": True}), "begun by another version, with augment; start another"),
    ):
        file.write_text(content)
        code, line, _ = resume()
        assert code == 2
        assert message in line


def test_a_checkpoint_of_another_version_is_refused(resume, monkeypatch):
    monkeypatch.setattr(train, "STATE", (*train.STATE, "mood"))
    assert re.search("error: --resume: another version began this run, with other or no mood", resume()[1])
