"""What is given to others holds no path of this machine, and what the user keeps finds everything again."""

import json
import shlex
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from harness import evaluate, sweep, unlearn
from harness.config import Config, UsageError, to_dict, to_flags
from harness.export import __main__ as export
from harness.judging import references
from harness.runs.command import parse
from harness.runs.folder import finished, options_of
from harness.runs.places import LOCAL, places, public, public_divergences, where_model_is
from tests import tiny

HOME = "nobodys-business"
"""A folder of the user's, of which nobody else is to read."""
KEY = "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight"
FAST = ["--steps", "1", "--batch-size", "2", "--latents", "2", "--sampling-steps", "1", *tiny.UNOPPOSED]
DIVERGENCE = "import sympy\nfrom fdiv import u\n\nmine = u * sympy.log(u) - u + 1\n"


@pytest.fixture(scope="module")
def home(tmp_path_factory, clip, model, judged):
    """A user's folder with models, a judge, templates, a divergence and another tool's weights in it."""
    folder = tmp_path_factory.mktemp("of") / HOME
    shutil.copytree(model, folder / "models" / "sd")
    shutil.copytree(judged, folder / "models" / "judged")
    shutil.copytree(clip, folder / "judges" / "clip")
    (folder / "templates.txt").write_text("a red [{}|shape] in plain style\na yellow [{}|shape] in plain style\n")
    (folder / "mine.py").write_text(DIVERGENCE)
    unet = next((folder / "models" / "sd" / "unet").glob("*.safetensors"))
    save_file({KEY: load_file(unet)[KEY]}, folder / "esd.safetensors")
    return folder


@pytest.fixture(scope="module")
def run(home):
    """A run of the command line that reads each of these, and one of another group that goes on from it."""
    flags = ["--model", str(home / "models" / "sd"), "--prompts", str(home / "templates.txt"), "--target", "star"]
    flags += ["--anchor", "circle", "--retain", "a red moon in plain style", "--start", str(home / "esd.safetensors")]
    flags += ["--judge", f"clip:{home / 'judges' / 'clip'}", "--divergence", f"{home / 'mine.py'}:mine", *FAST]
    flags += ["--judge-words", "star=a star", "circle=a circle", "moon=a moon"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(references, "check_tells", lambda *_: None)  # the model draws noise
        assert unlearn.main([*flags, "--save-pipeline", "--output", str(home / "runs" / "first")]) == 0
        more = ["--continue", str(home / "runs" / "first"), "--target", "moon", "--anchor", "heart", *FAST]
        more += ["--prompts", str(home / "templates.txt"), "--retain", "a red ring in plain style"]
        assert unlearn.main([*more, "--no-cache", "--output", str(home / "runs" / "second")]) == 0
    return home / "runs" / "first"


def _with_a_place(folder):
    """The files in a folder that say where something of the user's is."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    return {str(file.relative_to(folder)) for file in files if HOME.encode() in file.read_bytes()}


def test_of_a_runs_files_only_the_one_that_git_and_the_hub_ignore_has_places(run):
    for folder in (run, run.with_name("second")):
        assert _with_a_place(folder) == {LOCAL}
        assert (folder / ".gitignore").read_text() == f"{LOCAL}\n"


def test_an_evaluation_and_every_export_find_the_model_and_tell_nobody(run, monkeypatch):
    monkeypatch.setattr(references, "check_tells", lambda *_: None)
    assert evaluate.main([str(run), "--attacks", "noise_probe", "--pictures", "4", "--no-cache"]) == 0
    for form in ("delta", "lora", "kohya", "diff", "single-file", "pipeline"):
        assert export.main([str(run), "--format", form, "--rank", "64"]) == 0
    assert _with_a_place(run) == {LOCAL}
    card = (run / "export" / "delta" / "README.md").read_text()
    assert 'sd without "star"' in card
    assert "`mine.py:mine`" in card


def test_a_sweeps_rows_and_folders_are_named_without_a_path(home, monkeypatch):
    monkeypatch.chdir(home)
    sizes = {"steps": 1, "batch_size": 1, "latents": 2, "sampling_steps": 1, "adversary_every": 0}
    base = Config(model=str(home / "models" / "judged"), relearning_steps=0, **sizes)
    divergences = (f"{home / 'mine.py'}:mine",)
    asked = sweep.Sweep(divergences, variational=(), scales=("unit",), seeds=1, output=home / "sweep", base=base)
    (row,) = sweep.run(asked)
    assert row["divergence"] == "mine.py:mine"
    assert _with_a_place(home / "sweep") == {f"ours-mine.py-mine-closed_form-unit-target-0/{LOCAL}"}
    assert sweep.run(asked) == [row]


def test_run_json_says_what_was_run_on_which_model(run, home):
    said = json.loads((run / "run.json").read_text())
    assert said["config"]["model"] == said["model"]["name"] == "sd"
    assert said["model"]["sha256"].keys() == {"unet", "text_encoder", "vae"}
    assert all(len(digest) == 64 for digest in said["model"]["sha256"].values())
    assert json.loads((run.with_name("second") / "run.json").read_text())["model"] == said["model"]
    program, *flags = shlex.split(said["command"])[2:]
    assert program == "harness.unlearn"
    expected = options_of(run)
    assert expected.model == str(home / "models" / "sd")
    assert public(to_dict(parse(flags))) == public(to_dict(expected))


def test_a_run_of_an_older_version_opens_and_shows_no_place(run, tmp_path):
    """It had the places in run.json, and no file beside it."""
    older = shutil.copytree(run, tmp_path / "older", ignore=shutil.ignore_patterns("export", LOCAL))
    content = json.loads((older / "run.json").read_text())
    content["config"] |= json.loads((run / LOCAL).read_text())
    content["ledger"][0]["divergence"] = content["config"]["divergence"]
    assert HOME in content["ledger"][0]["divergence"]
    (older / "run.json").write_text(json.dumps(content))
    assert options_of(older) == options_of(run)
    assert HOME not in json.dumps(finished(older))
    assert export.main([str(older)]) == 0


def test_a_shared_run_asks_where_its_model_is(run, home, tmp_path, capsys):
    shared = shutil.copytree(run, tmp_path / "shared", ignore=shutil.ignore_patterns("export", LOCAL))
    for command, flag in ((evaluate, "--original"), (export, "--model")):
        assert command.main([str(shared), "--output", str(tmp_path / "out")]) == 2
        assert f"shared: its model, sd, is not here; say with {flag} where it is" in capsys.readouterr().err
    assert export.main([str(shared), "--model", str(home / "models" / "sd")]) == 0


def test_a_pipeline_that_was_made_of_parts_has_no_place():
    with pytest.raises(UsageError, match=r"vg: its model is not here; say with --original where it is"):
        where_model_is(Path("vg"), "", "--original")


def test_a_run_on_the_miniature_or_a_hubs_model_has_nothing_to_hide():
    assert places(to_dict(Config())) == {}
    assert places(to_dict(Config(model="someone/model", start="closed-form", judge="clip:someone/clip"))) == {}


def test_what_is_on_the_hub_keeps_its_owner_and_a_path_of_two_parts_does_not():
    shown = public(
        {"model": "owner/name", "judge": "clip:owner/clip", "output": "runs/vg", "start": "theirs/esd.safetensors"}
    )
    assert list(shown.values()) == ["owner/name", "clip:owner/clip", "vg", "esd.safetensors"]


def test_a_divergence_of_a_users_file_is_named_without_its_folder():
    assert public_divergences("/home/me/of mine.py:mine, kl") == "of mine.py:mine, kl"
    assert public_divergences("(u - 1)**2/(u + 2)") == "(u - 1)**2/(u + 2)"


@pytest.mark.parametrize(
    "flags",
    [
        ["--target=-star", "--no-cache", "--anchor-guidance", "-1"],
        ["--retain", "a moon", "it's a ring", "--save-pipeline"],
        ["--stop-when", "UA>=0.95", "--learning-rate", "1e-3"],
    ],
    ids=" ".join,
)
def test_options_come_back_from_their_flags(flags):
    options = parse(flags)
    assert parse(shlex.split(" ".join(to_flags(to_dict(options))))) == options


def test_the_places_that_were_kept_have_to_be_readable(run, tmp_path):
    broken = shutil.copytree(run, tmp_path / "broken", ignore=shutil.ignore_patterns("export"))
    (broken / LOCAL).write_text("{")
    with pytest.raises(UsageError, match=r"local\.json: cannot be read as JSON"):
        options_of(broken)
