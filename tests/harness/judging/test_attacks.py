"""A finished run opened again, measured and attacked; and attacks themselves, on models that are known to remember."""

import json
import re
import shutil
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest
import torch

from harness import evaluate, unlearn
from harness.config import Config, UsageError
from harness.data.finish import decode, finish
from harness.data.latents import encode, sample
from harness.judging.attack import Attacked, attacks, chosen_attacks
from harness.judging.attacks import completion
from harness.judging.metric import metric_rows
from harness.judging.result import Rate
from harness.models.sampler import few_steps, sampler
from harness.prompts.ladder import Ladder
from tests import tiny
from tests.drop_in import dropped_in

FAST = ["--steps", "2", "--batch-size", "4", "--latents", "2", "--sampling-steps", "1", "--learning-rate", "0.01"]
FAST += tiny.UNOPPOSED


@pytest.fixture(autouse=True)
def few_fractions(monkeypatch):
    """Two of the schedule instead of four, the headline's among them."""
    monkeypatch.setattr(completion, "FRACTIONS", (0.5, 0.9))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run on a model with a judge, a vocabulary and an oracle."""
    folder = tmp_path_factory.mktemp("attacked")
    source = tiny.judged_folder(folder / "model")
    tiny._unet().save_pretrained(source / "oracle" / "star")
    assert unlearn.main(["--model", str(source), "--output", str(folder / "run"), *FAST]) == 0
    return folder / "run"


def test_a_run_is_measured_as_it_was_and_attacked_once_and_repeats(run, tmp_path, capsys):
    copy = shutil.copytree(run, tmp_path / "run")
    flags = [str(copy), "--pictures", "4", "--attacks", "completion", "prompt_ladder"]
    before = json.loads((copy / "metrics.json").read_text())
    assert "attacks" not in before
    capsys.readouterr()
    assert evaluate.main(flags) == 0
    printed = capsys.readouterr().out
    for name, row in metric_rows(before).items():
        words = [f"{row[model]:.4f}" for model in ("original", "erased", "oracle")]
        assert f"{name.replace('_', ' ')} {' '.join(words)}" in " ".join(printed.split())
    written = json.loads((copy / "metrics.json").read_text())
    assert metric_rows(written) == metric_rows(before)
    assert written["verdict"] in printed
    assert _undocumented(written) == set()
    for name, points in {"completion": 3 * len(completion.FRACTIONS), "prompt_ladder": 6}.items():
        row = written["attacks"][name]
        assert row["cost"]["forwards"] > 0
        assert row["excess"] == pytest.approx(row["erased"] - row["oracle"])
        curve = row["concepts"]["star"]["curve"]
        assert len(curve) == points
        assert all(rate["count"] == 4 for point in curve for rate in point["rates"].values())
    assert (copy / "report.html").stat().st_size < 3e6
    assert evaluate.main(flags) == 2
    assert evaluate.main([str(copy), "--attacks", "none"]) == 2  # which would lose them
    assert capsys.readouterr().err.count("has attacks already; --overwrite to replace them") == 2
    assert evaluate.main([*flags, "--overwrite"]) == 0
    again = json.loads((copy / "metrics.json").read_text())
    for row in (*written["attacks"].values(), *again["attacks"].values()):
        del row["cost"]  # less where the cache of samples has the target's pictures
    assert again == written


NAMES = ("completion", "prompt_ladder", "star", "circle", "moon", "original", "erased", "oracle", "superclass", "empty")


def _keys(content):
    """All that metrics.json has names for, but for settings and figures, which are each attack's own."""
    for key, value in content.items():
        yield key
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, dict) and key not in ("setting", "figures"):
                yield from _keys(each)


def _undocumented(content):
    text = (Path(evaluate.__file__).parents[1] / "docs" / "evaluation.md").read_text()
    rest = {key: value for key, value in content.items() if key not in metric_rows(content)}
    return {key for key in _keys(rest) if key not in NAMES and f"`{key}`" not in text}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--attacks", "elephant"], "--attacks 'elephant': choices: none or all alone, or some of completion"),
        (["--attacks", "all", "completion"], "--attacks 'all': choices: none or all alone"),
        (["--attacks"], "--attacks: nothing named; choices"),
        (["--output", __file__], "cannot be written"),
        (["--pictures", "1001"], "--pictures 1001: at most 1000, .* draw each 180 times, here 180,180 pictures"),
        (["--pictures", "3"], "--pictures 3, --seed 0: needed are 4 pictures, a seed from 0"),
        (["--prompts", "nowhere.yaml"], "--prompts nowhere.yaml: cannot be read"),
        (["--target", "elephant"], "unknown concept 'elephant'"),
        (["--oracle", "nowhere"], "--oracle nowhere: needed is a run folder, a pipeline folder"),
    ],
)
def test_what_cannot_be_evaluated_is_one_line(run, capsys, flags, message):
    assert evaluate.main([str(run), *flags]) == 2
    assert re.search(message, capsys.readouterr().err)


def test_nothing_to_evaluate_is_one_line(tmp_path, capsys):
    assert evaluate.main([str(tmp_path / "elephant")]) == 2
    assert "nothing there; needed is a run folder" in capsys.readouterr().err
    assert evaluate.main([str(tmp_path)]) == 2
    assert "needed is a run folder, a pipeline folder" in capsys.readouterr().err


ATTACK = """
import torch
from harness.judging.attack import Attack
from harness.judging.result import Outcome, Point, Rate, Result

def run(attacked):
    point = Point({"tries": 1}, {name: Result(Rate(1, 2), torch.zeros(2, 3, 8, 8)) for name in attacked.subjects})
    return Outcome(point, (point,))

ATTACK = Attack("guess", "nobody", run)
"""


def test_an_attack_is_one_new_file(run, tmp_path, capsys):
    copy = shutil.copytree(run, tmp_path / "run")
    with dropped_in("harness.judging.attacks", "guess", ATTACK, tmp_path):
        assert evaluate.main([str(copy), "--attacks", "guess"]) == 0
    assert "tries 1" in capsys.readouterr().out
    written = json.loads((copy / "metrics.json").read_text())["attacks"]
    assert list(written) == ["guess"]
    assert written["guess"]["excess"] == 0
    assert written["guess"]["concepts"]["star"]["headline"]["setting"] == {"tries": 1}
    assert "guess" not in attacks()
    with pytest.raises(UsageError, match="'guess'"):
        chosen_attacks(("guess",))


@pytest.mark.parametrize("kind", tiny.UNETS)
def test_finishing_from_pure_noise_is_the_pipelines_own_sampling_from_the_same_latents(kind):
    """With a multistep solver too, of which each picture needs one of its own."""
    model, options = tiny.model(kind), Config(sampling_steps=3, guidance_scale=3.0)
    clean = torch.randn(1, *model.latent_shape(16), generator=torch.Generator().manual_seed(1))
    embeddings = encode(model, ["a star", ""])
    ours = finish(model, clean, 1.0, [embeddings["a star"]], embeddings[""], options, seed=7)
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(7))
    scheduler = sampler(model.pipeline)
    scheduler.set_timesteps(3)
    noisy = scheduler.add_noise(clean, noise, scheduler.timesteps[:1])
    with few_steps(model.pipeline):
        theirs = model.pipeline(
            "a star", num_inference_steps=3, guidance_scale=3.0, output_type="pt", latents=noisy
        )  # fmt: skip
    torch.testing.assert_close(decode(model, ours, options), theirs.images, rtol=1e-4, atol=1e-4)


def test_finishing_from_almost_no_noise_gives_the_picture_back():
    model, options = tiny.model(), Config(sampling_steps=20)
    embeddings = encode(model, ["a star", ""])
    clean = sample(model, ["a star"], embeddings, options, seed=0)
    last, first = (
        finish(model, clean, fraction, [embeddings[""]], embeddings[""], options, seed=0) for fraction in (0.0, 1.0)
    )
    last, first, picture = (decode(model, latents, options) for latents in (last, first, clean))
    assert (last - picture).abs().mean() < (first - picture).abs().mean() / 4


class _Bright:
    """Sees a star in every picture that is bright enough."""

    def features(self, pictures):
        return pictures.mean((2, 3))

    def values(self, pictures):
        return {"shape": ["star" if bright else "moon" for bright in pictures.mean((1, 2, 3)) > 0.5]}


def test_completion_counts_what_each_model_finishes_as_the_target():
    """A decoder whose bias makes all bright or all dark tells the models apart, whatever they are given."""
    model = tiny.model()

    @contextmanager
    def biased(value):
        with torch.no_grad():
            model.pipeline.vae.decoder.conv_out.bias.fill_(value)
        yield

    subjects = {"original": nullcontext, "erased": lambda: biased(-9.0), "oracle": lambda: biased(9.0)}
    prompts, general = ("a star", "a red star"), ("a shape", "a red shape")
    embeddings = encode(model, [*prompts, *general, ""])
    ladder, options = Ladder({"name": prompts, "superclass": general}), Config(sampling_steps=2)
    outcome = completion.run(Attacked(model, subjects, "star", "shape", ladder, embeddings, _Bright(), options, 3, 0))
    for point in outcome.curve:
        assert (point.rates["erased"].successes, point.rates["oracle"].successes) == (0, 3)
        assert point.to_json()["excess"] == -1
    assert outcome.headline.setting == {"from": 0.5, "prompt": "empty"}


@pytest.mark.parametrize(
    ("one", "other", "low", "high"), [((56, 70), (48, 80), 0.0524, 0.3339), ((9, 10), (3, 10), 0.1705, 0.8090)]
)
def test_the_excess_has_newcombes_interval(one, other, low, high):
    """Both from his table of examples (1998, table II, method 10)."""
    assert Rate(*one).minus(Rate(*other)).interval == (pytest.approx(low, abs=2e-4), pytest.approx(high, abs=2e-4))
