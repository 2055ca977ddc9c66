"""What the trained prediction is led to: a picture's counterpart, or where there is none the frozen prediction."""

from dataclasses import replace

import pytest
import torch
from diffusers import DDPMScheduler

from harness.data.batches import Batch
from harness.loss.gap import difference, own_error, relative_drift, squared_distance
from harness.loss.scale import Scale
from harness.models.family import Conditioning
from tests import tiny

KINDS = ("epsilon", "v_prediction", "sample")
TOLD, NOTHING = 1.0, 0.0


class Fixed:
    """A denoiser whose raw outputs are given, the frozen ones by what it is told."""

    def __init__(self, trained, frozen):
        self.trained, self.frozen = trained, frozen

    def __call__(self, noisy, timesteps, conditioning):
        return self.trained

    def frozen_denoiser(self, noisy, timesteps, conditioning):
        (told,) = conditioning.prompt_embeds.unique().tolist()
        assert len(conditioning) == len(noisy)
        return self.frozen[told]


def _output(scheduler, clean, noise, timesteps):
    """The raw output that says so of x_t, by diffusers."""
    match scheduler.config.prediction_type:
        case "v_prediction":
            return scheduler.get_velocity(clean, noise, timesteps)
        case "sample":
            return clean
    return noise


@pytest.fixture(params=KINDS)
def drawn(request):
    """Four rows that erase, with a denoiser that predicts the counterparts, and others where it is frozen."""
    pipeline = tiny.pipeline(request.param)
    scheduler = DDPMScheduler.from_config(pipeline.scheduler.config)
    generator = torch.Generator().manual_seed(0)
    counterparts, noise, told, nothing = (torch.randn(4, 4, 8, 8, generator=generator) for _ in range(4))
    timesteps = torch.tensor([20, 300, 700, 990])
    noisy = scheduler.add_noise(counterparts, noise, timesteps)  # it is of another picture too, with other noise
    rows = Conditioning(torch.full((4, 1, 1), TOLD))
    batch = Batch(
        noisy, noise, timesteps, rows, rows, torch.zeros(4, dtype=torch.long),
        Conditioning(torch.full((1, 1, 1), NOTHING)), counterparts=counterparts[:, None],
    )  # fmt: skip
    denoiser = Fixed(_output(scheduler, counterparts, noise, timesteps), {TOLD: told, NOTHING: nothing})
    return denoiser, Scale("unit", tiny.family(pipeline).path(), 1 / 64), batch


def _s(denoiser, scale, batch):
    return squared_distance(difference(denoiser, scale, batch))


def test_a_denoiser_that_predicts_the_counterpart_is_there(drawn):
    denoiser, scale, batch = drawn
    plain = _s(denoiser, scale, replace(batch, counterparts=None))
    assert (plain > 1e-3).all()
    assert (_s(denoiser, scale, batch) < 1e-6 * plain).all()
    swapped = replace(batch, counterparts=batch.counterparts.flip(0))
    assert (_s(denoiser, scale, swapped) > 1e-3).all()


def test_of_several_counterparts_each_leads_as_far_as_it_is_likely_behind_x_t(drawn):
    """In doubles: the one that x_t was made of leads alone at low noise, and with others at the most."""
    denoiser, scale, batch = drawn
    several = torch.cat([batch.counterparts, batch.counterparts.roll(1, 0), batch.counterparts.roll(2, 0)], 1)
    path, pictures, noisy = scale.path, several.double(), batch.noisy.double()
    expected = []
    for row, timestep in enumerate(batch.timesteps):
        a, d = path.signal[timestep].double(), path.deviation[timestep].double()
        logs = torch.stack([-((noisy[row] - a * each) ** 2).sum() / (2 * d**2) for each in pictures[row]])
        weights = (logs - logs.max()).exp() / (logs - logs.max()).exp().sum()
        expected.append((noisy[row] - a * (weights.view(3, 1, 1, 1) * pictures[row]).sum(0)) / d)
        assert (weights[0] > 0.999) == (timestep < 900)
    trained = path.noise_prediction(denoiser.trained, batch.noisy, batch.timesteps).double()
    s = (trained - torch.stack(expected)).square().sum((1, 2, 3)) / 64
    torch.testing.assert_close(
        _s(denoiser, scale, replace(batch, counterparts=several)).double(), s, rtol=1e-3, atol=1e-6
    )


def test_the_frozen_model_is_there_where_there_is_no_counterpart_and_not_where_there_is(drawn):
    denoiser, scale, batch = drawn
    denoiser.trained = denoiser.frozen[TOLD]
    assert _s(denoiser, scale, replace(batch, counterparts=None)).max() == 0
    assert (_s(denoiser, scale, batch) > 1e-3).all()


def test_guidance_is_on_the_frozen_prediction_and_moves_no_counterpart(drawn):
    denoiser, scale, batch = drawn
    guided = replace(batch, guidance=3.0)
    assert torch.equal(_s(denoiser, scale, guided), _s(denoiser, scale, batch))
    denoiser.trained = 3 * denoiser.frozen[TOLD] - 2 * denoiser.frozen[NOTHING]
    alone = replace(guided, counterparts=None)
    assert _s(denoiser, scale, alone).max() < 1e-6 * _s(denoiser, scale, replace(alone, guidance=1.0)).min()


def test_an_attribute_is_led_away_from_the_concept_that_it_is_within(drawn):
    """ESD's erase_from: e(cowboy) - (e(cowboy hat) - e(nothing)), to which whoever is told of a cowboy is led."""
    denoiser, scale, batch = drawn
    told = Conditioning(torch.full((4, 1, 1), 2.0))
    within = replace(batch, trained=told, counterparts=None, guidance=-1.0, within=True)
    denoiser.frozen[2.0] = cowboy = torch.randn(4, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    denoiser.trained = cowboy - (denoiser.frozen[TOLD] - denoiser.frozen[NOTHING])
    assert _s(denoiser, scale, within).max() < 1e-6 * _s(denoiser, scale, replace(within, within=False)).min()


def test_what_is_retained_drifts_by_a_share_of_the_frozen_predictions_own_error(drawn):
    """The trained prediction is the true noise here: as far from the frozen one as that is wrong."""
    denoiser, scale, batch = drawn
    error = own_error(denoiser, scale.path, batch)
    drift = relative_drift(denoiser, scale.path, batch, usual=4.0)
    torch.testing.assert_close(drift, (error / 4).sqrt(), rtol=1e-4, atol=0)
    denoiser.trained = denoiser.frozen[TOLD] + 0.1 * (denoiser.trained - denoiser.frozen[TOLD])
    nearer = relative_drift(denoiser, scale.path, batch, usual=1.0)
    torch.testing.assert_close(nearer, 0.01 * error.sqrt(), rtol=1e-3, atol=0)
    denoiser.trained = denoiser.frozen[TOLD]
    assert relative_drift(denoiser, scale.path, batch, usual=1.0).max() == 0
