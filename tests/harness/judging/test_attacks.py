"""A finished run opened again, measured and attacked; and attacks themselves, on models that are known to remember."""

import json
import shutil
from contextlib import contextmanager, nullcontext

import pytest
import torch

from harness import evaluate, unlearn
from harness.config import Config, UsageError
from harness.data.finish import finish
from harness.data.latents import encode, sample
from harness.judging.attack import Attacked, Rate, attacks, chosen_attacks
from harness.judging.attacks import completion
from tests import tiny
from tests.drop_in import dropped_in

FAST = ["--steps", "2", "--batch-size", "4", "--latents", "2", "--sampling-steps", "1", "--learning-rate", "0.01"]


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


def test_a_run_is_measured_as_it_was_and_its_attacks_are_written_once_and_repeat(run, tmp_path, capsys):
    copy = shutil.copytree(run, tmp_path / "run")
    flags = [str(copy), "--pictures", "3", "--attacks", "completion"]
    capsys.readouterr()
    assert evaluate.main(flags) == 0
    printed = capsys.readouterr().out
    for name, row in json.loads((run / "metrics.json").read_text()).items():
        words = [f"{row[model]:.4f}" for model in ("original", "erased", "oracle")]
        assert f"{name.replace('_', ' ')} {' '.join(words)}" in " ".join(printed.split())
    assert "completion of 'star'" in printed
    written = json.loads((copy / "attacks.json").read_text())
    curve = written["attacks"]["completion"]["star"]["curve"]
    assert len(curve) == 3 * len(completion.FRACTIONS)
    assert all(point[model]["count"] == 3 for point in curve for model in ("original", "erased", "oracle"))
    assert written["attacks"]["completion"]["star"]["headline"] in curve
    assert evaluate.main(flags) == 2
    assert "attacks.json: exists already; --overwrite to replace it" in capsys.readouterr().err
    assert evaluate.main([*flags, "--overwrite"]) == 0
    assert json.loads((copy / "attacks.json").read_text()) == written


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--attacks", "elephant"], "--attacks 'elephant': choices: none or all alone, or some of completion"),
        (["--attacks", "all", "completion"], "--attacks 'all': choices: none or all alone"),
        (["--pictures", "0"], "--pictures 0"),
    ],
)
def test_what_cannot_be_evaluated_is_one_line(run, tmp_path, capsys, flags, message):
    assert evaluate.main([str(run), *flags]) == 2
    assert message in capsys.readouterr().err
    assert evaluate.main([str(tmp_path), *flags[:0]]) == 2
    assert "no finished run" in capsys.readouterr().err


ATTACK = """
import torch
from harness.judging.attack import Attack, Outcome, Point, Rate, Result

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
    written = json.loads((copy / "attacks.json").read_text())["attacks"]
    assert list(written) == ["guess"]
    assert written["guess"]["star"]["headline"]["excess_over_oracle"]["value"] == 0
    assert "completion" in attacks()
    assert "guess" not in attacks()
    with pytest.raises(UsageError, match="'guess'"):
        chosen_attacks(("guess",))


@pytest.mark.parametrize("kind", tiny.PIPELINES)
def test_finishing_from_pure_noise_is_the_pipelines_own_sampling_from_the_same_latents(kind):
    """Also where the sampler scales its input, as Euler's does."""
    model, options = tiny.model(kind), Config(sampling_steps=3, guidance_scale=3.0)
    clean = torch.randn(1, *model.latent_shape(16), generator=torch.Generator().manual_seed(1))
    embeddings = encode(model, ["a star", ""])
    ours = finish(model, clean, 1.0, [embeddings["a star"]], embeddings[""], options, seed=7)
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(7))
    scheduler = model.pipeline.scheduler
    scheduler.set_timesteps(3)
    noisy = scheduler.add_noise(clean, noise, scheduler.timesteps[:1])
    theirs = model.pipeline(
        "a star", num_inference_steps=3, guidance_scale=3.0, output_type="pt",
        latents=noisy / scheduler.init_noise_sigma,
    )  # fmt: skip
    torch.testing.assert_close(ours, theirs.images, rtol=1e-4, atol=1e-4)


def test_finishing_from_almost_no_noise_gives_the_picture_back():
    model, options = tiny.model(), Config(sampling_steps=20)
    embeddings = encode(model, ["a star", ""])
    clean = sample(model, ["a star"], embeddings, options, seed=0)
    last, first = (
        finish(model, clean, fraction, [embeddings[""]], embeddings[""], options, seed=0) for fraction in (0.0, 1.0)
    )
    with torch.no_grad():
        picture = model.decode(clean)
    assert (last - picture).abs().mean() < (first - picture).abs().mean() / 4


class _Bright:
    """Sees a star in every picture that is bright enough."""

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
    options = Config(sampling_steps=2)
    outcome = completion.run(
        Attacked(model, subjects, "star", "shape", prompts, general, embeddings, _Bright(), options, 3, 0)
    )
    for point in outcome.curve:
        assert (point.rates["erased"].successes, point.rates["oracle"].successes) == (0, 3)
        assert point.to_json()["excess_over_oracle"]["value"] == -1
    assert outcome.headline.setting == {"from": 0.5, "prompt": "empty"}


@pytest.mark.parametrize(
    ("one", "other", "low", "high"), [((56, 70), (48, 80), 0.0524, 0.3339), ((9, 10), (3, 10), 0.1705, 0.8090)]
)
def test_the_excess_has_newcombes_interval(one, other, low, high):
    """Both from his table of examples (1998, table II, method 10)."""
    _, interval = Rate(*one).minus(Rate(*other))
    assert interval == (pytest.approx(low, abs=2e-4), pytest.approx(high, abs=2e-4))
