"""What a training noises: the target's own pictures with their counterparts, and what is said of each."""

from dataclasses import replace

import pytest
import torch

from harness.config import Config
from harness.data import kept, once
from harness.data.finish import finish
from harness.data.kept import OF_RETAINED, OF_TARGET, sample_kept
from harness.data.latents import encode, sample
from harness.prompts.draft import Draft
from tests import tiny

OPTIONS = Config(target="a star", anchor="a circle", latents=6, sampling_steps=4, batch_size=2, seed=3, cache=False)


@pytest.fixture(scope="module")
def model():
    return tiny.model()


def _kept(model, concepts=None, options=OPTIONS, **keywords):
    """What is sampled, the concepts that it is of, and their embeddings."""
    chosen = concepts or Draft.of(options, None).settle(lambda _, names: [*names])
    embeddings = encode(model, [*chosen.prompts, ""])
    return sample_kept(model, chosen, embeddings, options, **keywords), chosen, embeddings


def _prompts(conditioning, embeddings):
    """The prompts that conditionings are of."""
    by_bits = {row.prompt_embeds.numpy().tobytes(): prompt for prompt, row in embeddings.items()}
    return [by_bits[row.prompt_embeds.numpy().tobytes()] for row in conditioning]


def test_the_targets_own_pictures_are_noised_and_led_to_the_same_with_the_anchor(model):
    sampled, chosen, embeddings = _kept(model)
    (one,) = chosen.erased
    anchors = _prompts(sampled.anchor, embeddings)
    targets = _prompts(sampled.target[:6], embeddings)
    assert len(set(targets)) == 6
    assert [each.replace("a star", "a circle") for each in targets] == anchors
    assert set(targets) <= set(one.target_prompts)
    seeds = 4 * OPTIONS.seed + 1, 4 * OPTIONS.seed + 2
    assert torch.equal(sampled.origin_latents, sample(model, targets, embeddings, OPTIONS, seeds[0]))
    retained = _prompts(sampled.retain[:12], embeddings)
    assert torch.equal(sampled.retain_latents[:6], sample(model, retained[:6], embeddings, OPTIONS, seeds[1]))
    # counterparts are retained too, under their own prompts
    assert retained[6:] == anchors
    assert torch.equal(sampled.retain_latents[6:], sampled.counterparts[:, 0])
    assert sampled.counterparts.shape == (6, 1, *sampled.origin_latents.shape[1:])
    assert torch.equal(sampled.concept, torch.zeros(6, dtype=torch.long))


def _led_to(chosen, anchors):
    """The concepts with other anchor prompts."""
    (one,) = chosen.erased
    return replace(chosen, erased=(replace(one, anchor_prompts=anchors, counterparts=tuple((a,) for a in anchors)),))


def test_of_a_counterpart_and_its_picture_the_anchors_prompt_alone_differs(model):
    """Led to other anchors in every second row, just those counterparts are others; and with the target as the anchor
    they are what the same noise makes of the target's prompts."""
    sampled, chosen, embeddings = _kept(model)
    (one,) = chosen.erased
    other = {target: target.replace("a star", "a moon") for target in one.target_prompts[::2]}
    pairs = zip(one.target_prompts, one.anchor_prompts, strict=True)
    again, _, _ = _kept(model, _led_to(chosen, tuple(other.get(target, anchor) for target, anchor in pairs)))
    assert torch.equal(again.origin_latents, sampled.origin_latents)
    targets = _prompts(sampled.target[:6], embeddings)
    changed = torch.tensor([target in other for target in targets])
    assert 0 < changed.sum() < 6
    differs = (again.counterparts != sampled.counterparts).flatten(1).any(1)
    assert torch.equal(differs, changed)
    same, _, _ = _kept(model, _led_to(chosen, one.target_prompts))
    given, nothing = list(sampled.target[:6]), embeddings[""]
    wanted = finish(model, sampled.origin_latents, 0.8, given, nothing, OPTIONS, 4 * OPTIONS.seed + 2**61)
    assert torch.equal(same.counterparts[:, 0], wanted)


def test_several_anchors_make_several_counterparts_of_which_the_anchors_is_retained(model):
    sampled, chosen, embeddings = _kept(model, options=replace(OPTIONS, anchor="retained"))
    (one,) = chosen.erased
    assert sampled.counterparts.shape == (6, 7, *sampled.origin_latents.shape[1:])
    targets, anchors = _prompts(sampled.target[:6], embeddings), _prompts(sampled.anchor, embeddings)
    assert _prompts(sampled.retain[6:12], embeddings) == anchors
    for row, (target, anchor) in enumerate(zip(targets, anchors, strict=True)):
        every = one.counterparts[one.target_prompts.index(target)]
        assert len(set(every)) == 7
        assert torch.equal(sampled.retain_latents[6 + row], sampled.counterparts[row, every.index(anchor)])
    clean, nothing = sampled.origin_latents.repeat_interleave(7, 0), embeddings[""]
    given = [embeddings[each] for target in targets for each in one.counterparts[one.target_prompts.index(target)]]
    wanted = finish(model, clean, 0.8, given, nothing, OPTIONS, 4 * OPTIONS.seed + 2**61)
    assert torch.equal(sampled.counterparts.flatten(0, 1), wanted)


def test_one_seed_gives_one_counterpart_and_another_seed_another(model):
    first, again, other = (_kept(model, options=replace(OPTIONS, seed=seed))[0] for seed in (3, 3, 4))
    assert torch.equal(first.counterparts, again.counterparts)
    assert (first.counterparts != other.counterparts).flatten(1).any(1).all()


def test_each_is_told_its_own_prompt_one_without_the_concept_and_none(model):
    sampled, chosen, embeddings = _kept(model)
    assert sampled.kinds == len(OF_TARGET) == len(OF_RETAINED) == 4
    own = _prompts(sampled.target[:6], embeddings)
    general = [chosen.general[prompt] for prompt in own]
    assert not any("star" in prompt or "circle" in prompt for prompt in general)
    assert all(general)
    assert _prompts(sampled.target, embeddings) == [*own, *general, *[""] * 6, *general]
    own = _prompts(sampled.retain[:12], embeddings)
    general = [chosen.general[prompt] for prompt in own]
    # counterparts are told the targets' prompts too
    replaced = [*own[:6], *(prompt.replace("a circle", "a star") for prompt in own[6:])]
    assert _prompts(sampled.retain, embeddings) == [*own, *replaced, *general, *[""] * 12]
    assert _prompts(sampled.unconditional, embeddings) == [""]


def test_prompts_that_nobody_says_how_to_put_without_the_concept_are_told_as_none(model):
    sampled, _, embeddings = _kept(model, options=replace(OPTIONS, retain=("a moon", "a ring")))
    told = _prompts(sampled.retain, embeddings)
    assert {*told[:6]} == {"a moon", "a ring"}
    assert told[12:18] == told[:6]
    assert told[24:30] == told[36:][:6] == [""] * 6


def test_the_recipes_origin_is_the_anchors_pictures_which_are_told_the_target_alone(model):
    options = replace(OPTIONS, origin="anchor")
    sampled, _, embeddings = _kept(model, options=options)
    anchors = _prompts(sampled.anchor, embeddings)
    assert torch.equal(sampled.origin_latents, sample(model, anchors, embeddings, options, 4 * options.seed + 1))
    assert (sampled.kinds, sampled.counterparts) == (1, None)
    assert [each.replace("a star", "a circle") for each in _prompts(sampled.target, embeddings)] == anchors
    assert len(sampled.retain) == len(sampled.retain_latents)
    assert "" not in _prompts(sampled.retain, embeddings)


def test_guidance_away_from_the_target_has_no_counterparts_and_tells_the_target_alone(model):
    sampled, _, embeddings = _kept(model, options=replace(OPTIONS, anchor="", anchor_guidance=-1.0))
    assert (sampled.kinds, sampled.counterparts) == (1, None)
    assert _prompts(sampled.target, embeddings) == _prompts(sampled.anchor, embeddings)


def test_nothing_retained_is_no_row(model):
    sampled, _, _ = _kept(model, options=replace(OPTIONS, retain_weight=0.0))
    assert [len(each) for each in (sampled.retain_latents, sampled.retain)] == [0, 0]
    assert len(sampled.counterparts) == 6


def test_a_run_that_goes_on_makes_neither_latents_nor_counterparts_again(model, monkeypatch):
    store = {}

    def remember(name, make):
        if name not in store:
            store[name] = make()
        return store[name]

    sampled, _, _ = _kept(model, once=remember)
    assert list(store) == ["target_latents", "counterpart_latents", "retained_latents"]
    for name in ("sample_once", "finish_once"):
        monkeypatch.setattr(kept, name, lambda *_, **__: pytest.fail("made again"))
    again, _, _ = _kept(model, once=remember)
    for name in ("origin_latents", "counterparts", "retain_latents"):
        assert torch.equal(getattr(again, name), getattr(sampled, name))


def test_counterparts_come_from_the_cache_bit_for_bit(model, tmp_path, monkeypatch):
    monkeypatch.setenv("FDIV_CACHE", str(tmp_path))
    fresh, _, _ = _kept(model)
    cached = replace(OPTIONS, cache=True)
    first, _, _ = _kept(model, options=cached)
    for name in ("sample", "finish"):
        monkeypatch.setattr(once, name, lambda *_: pytest.fail("made again"))
    again, _, _ = _kept(model, options=cached)
    for each in (first, again):
        assert fresh.counterparts.numpy().tobytes() == each.counterparts.numpy().tobytes()
        assert torch.equal(fresh.origin_latents, each.origin_latents)
