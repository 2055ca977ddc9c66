"""The adversary in the prompts."""

from dataclasses import replace

import pytest
import torch

from harness.attacking.embeddings import movable, moved
from harness.config import Config
from harness.data.batches import batches
from harness.loss.soft_prompts import BLOCKS, SoftPrompts
from harness.models.denoiser import Denoiser
from tests import tiny


def _made(parameter_group="full", seed=0, kind="sd1"):
    model = tiny.model(kind)
    sampled, denoiser = tiny.sampled(model), Denoiser(model, parameter_group)
    return SoftPrompts(denoiser, model.path(), sampled, torch.Generator().manual_seed(seed))


@torch.no_grad()
def _errors(made, block):
    """The denoising error of the target's pictures under prompts that do not name it, with a block or zeros added."""
    path, sampled, network = made.path, made.sampled, made.denoiser.model.network
    n = len(sampled.origin_latents)
    generator, found = torch.Generator().manual_seed(99), []
    for _ in range(12):
        noise = torch.randn(sampled.origin_latents.shape, generator=generator)
        times = torch.randint(1000, (n,), generator=generator)
        noisy = path.add_noise(sampled.origin_latents, noise, times)
        told = moved(sampled.target[n : 2 * n], block)
        output = made.denoiser.model.predict(network, noisy, times, told)
        found.append((path.noise_prediction(output, noisy, times) - noise).square().mean())
    return torch.stack(found).mean()


@pytest.mark.parametrize("kind", tiny.PIPELINES)
def test_every_block_makes_the_model_denoise_the_target_better_under_prompts_that_do_not_name_it(kind):
    made = _made(kind=kind)
    if kind == "sdxl":  # in small it hardly hears its prompts, which go to its lowest block alone
        _hear(made.denoiser.network, 10)
    made.learn()
    nothing = movable(made.sampled.unconditional)
    assert [each.shape for each in made.blocks] == [(BLOCKS, *each.shape[1:]) for each in nothing]
    plain = _errors(made, [0] * len(nothing))
    assert all(_errors(made, block) < plain - 1e-3 for block in zip(*made.blocks, strict=True))


@pytest.mark.parametrize("kind", ["sdxl", "sd3", "flux"])
def test_the_pooled_vector_is_searched_too_where_the_family_has_one(kind):
    """Alone, with the tokens as they are, what was found of it makes the target likelier."""
    made = _made(kind=kind)
    made.learn()
    _, pooled = made.blocks
    plain = _errors(made, [0, 0])
    assert all(_errors(made, [0, block]) < plain - 1e-4 for block in pooled)
    batch = _batch(made)
    added = made.over(batch).trained.pooled - batch.trained.pooled
    assert torch.equal(added.any(1), batch.adversary)
    assert {row.item() for row in torch.cdist(added[batch.adversary], pooled).argmin(1)} == set(range(BLOCKS))


@torch.no_grad()
def _hear(network, times):
    """Let prompts count so many times as much."""
    for name, weight in network.named_parameters():
        if "attn2.to_v" in name:
            weight.mul_(times)


@pytest.mark.parametrize("parameter_group", ["full", "cross-attention-kv", "lora"])
def test_the_search_moves_no_weight_and_those_that_train_train_on(parameter_group):
    made = _made(parameter_group)
    before = {name: each.clone() for name, each in made.denoiser.network.state_dict().items()}
    trained = {id(each) for each in made.denoiser.trained.values()}
    made.learn()
    after = made.denoiser.network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    for parameter in made.denoiser.network.parameters():
        assert parameter.requires_grad == (id(parameter) in trained)
        assert parameter.grad is None
    assert not any(each.requires_grad for each in made.blocks)


def test_a_generator_decides_the_search():
    first, again, other = (_made(seed=seed) for seed in (0, 0, 1))
    for made in (first, again, other):
        made.learn()
    (kept,), (same,), (another,) = first.blocks, again.blocks, other.blocks
    assert torch.equal(kept, same)
    assert not torch.equal(kept, another)
    first.learn()  # anew, from a start of its own
    assert not torch.equal(first.blocks[0], kept)


def _batch(made):
    drawn = batches(made.sampled, made.path, Config(batch_size=32), torch.Generator().manual_seed(0))
    return next(drawn).erasing


def test_a_block_is_on_the_adversarys_rows_alone_and_each_of_them_has_its_turn():
    made, batch = _made(), _batch(_made())
    made.blocks = [torch.arange(1.0, BLOCKS + 1).view(-1, 1, 1).expand(-1, 77, 16)]
    moved = made.over(batch)
    added = moved.trained.prompt_embeds - batch.trained.prompt_embeds
    which = added.mean((1, 2)).round().long()
    assert torch.equal(which > 0, batch.adversary)
    assert 0 < batch.adversary.sum() < len(batch.adversary)
    assert which.unique().tolist() == list(range(BLOCKS + 1))
    torch.testing.assert_close(added, which.float().view(-1, 1, 1).expand_as(added), rtol=0, atol=1e-5)
    for name in ("noisy", "timesteps", "concept", "counterparts"):
        assert getattr(moved, name) is getattr(batch, name)
    assert moved.frozen is batch.frozen
    rest = batch.adversary.logical_not()
    assert torch.equal(moved.trained.prompt_embeds[rest], batch.trained.prompt_embeds[rest])


def test_before_a_search_and_where_no_row_is_the_adversarys_nothing_is_added():
    made, batch = _made(), _batch(_made())
    assert made.over(batch) is batch
    made.blocks = [torch.ones(BLOCKS, 77, 16)]
    alone = replace(batch, adversary=None)
    assert made.over(alone) is alone
