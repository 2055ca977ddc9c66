"""LECO's files of concepts, and kohya's: what they train towards is an anchor of ours, or refused."""

import pytest

from harness.config import Config, UsageError
from harness.plan import Plan
from harness.prompts.wishes import read_concepts


def _read(tmp_path, text, name="prompts.yaml", **options):
    file = tmp_path / name
    file.write_text(text)
    return read_concepts(Config(concepts=file, **options))


ERASE = """
- target: "van gogh"
  positive: "van gogh"
  unconditional: ""
  neutral: ""
  action: "erase"
  guidance_scale: 1.0
  resolution: [512, 768]
  batch_size: 2
  weight: 0.5
"""


def test_their_own_example_is_esd_and_what_has_no_meaning_is_said(tmp_path, capsys):
    ((options, weight),) = _read(tmp_path, ERASE, anchor_guidance=-1.0)
    assert (options.target, options.anchor, options.anchor_guidance, weight) == ("van gogh", "van gogh", -1.0, 0.5)
    said = capsys.readouterr().err
    assert "without effect: resolution, batch_size; --resolution and --batch-size hold" in said


@pytest.mark.parametrize(
    ("entry", "anchor", "guidance"),
    [
        ("{target: cat, action: erase}", "cat", -1),
        ("{target: cat, guidance_scale: 3, unconditional: ''}", "cat", -3),
        ("{target: cat, guidance_scale: 0}", "empty", 1),
        ("{target: cat, guidance_scale: 0, neutral: an animal}", "an animal", 1),
        ("{target: cat, positive: dog, action: enhance}", "dog", 1),
        ("{target: cat, positive: dog, action: enhance, guidance_scale: 2.5}", "dog", 2.5),
        ("{target: cat, positive: dog, neutral: pet, unconditional: pet, action: enhance}", "dog", 1),
        ("{target: cat, positive: cat, neutral: cat, unconditional: dog}", "dog", 1),
        ("{target: cat, multiplier: 1}", "cat", -1),
    ],
)
def test_the_shares_of_the_prompts_come_to_an_anchor_with_a_guidance(tmp_path, entry, anchor, guidance):
    ((options, _),) = _read(tmp_path, f"- {entry}", anchor_guidance=guidance)
    assert (options.target, options.anchor) == ("cat", anchor)
    with pytest.raises(UsageError, match=f"guidance of {guidance:g}.* is 7; say --anchor-guidance {guidance:g}"):
        _read(tmp_path, f"- {entry}", anchor_guidance=7.0)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("{target: cat, unconditional: dog}", "trains towards .*2 'dog'.*, which is no anchor with a guidance"),
        ("{target: cat, neutral: pet}", r"trains towards 1 'pet' \+ -1 'cat' \+ 1 ''"),
        ("{target: cat, action: remove}", "action 'remove'; choices: erase, enhance"),
        ("{target: cat, guidance_scale: much}", "guidance_scale 'much': must be a number"),
        ("{target: cat, guidance_scale: nan}", "say --anchor-guidance"),
        ("{target: cat, multiplier: -1}", "multiplier: nothing is scaled while it trains"),
        ("{target: cat, positive: cat, anchor: dog}", "unknown key 'anchor'; choices: target, weight, positive"),
        ("{positive: cat, action: erase}", "names no target"),
        ("{target: cat, action: erase, weight: 0}", "weight: must be a finite number above 0"),
    ],
)
def test_what_has_no_counterpart_is_refused(tmp_path, entry, message):
    with pytest.raises(UsageError, match=message):
        _read(tmp_path, f"- {entry}", anchor_guidance=-1.0)


def test_what_strengthens_a_concept_erases_nothing(tmp_path):
    file = tmp_path / "prompts.yaml"
    file.write_text("- {target: star, action: enhance}")
    with pytest.raises(UsageError, match="equal to the target, so there is nothing to erase"):
        Plan.of(Config(concepts=file))


def test_kohyas_file_has_defaults_for_all_its_prompts(tmp_path):
    text = 'guidance_scale = 2.0\n[[prompts]]\ntarget = "cat"\nneutral = ""\n[[prompts]]\ntarget = "dog"\nweight = 3\n'
    read = _read(tmp_path, text, "prompts.toml", anchor_guidance=-2.0)
    assert [(options.target, options.anchor, weight) for options, weight in read] == [
        ("cat", "cat", 1.0),
        ("dog", "dog", 3.0),
    ]


@pytest.mark.parametrize(
    ("text", "message"), [("- a", "cannot be read as TOML"), ("a = 1", r"expected \[\[prompts\]\] with target")]
)
def test_another_toml_file_is_one_line(tmp_path, text, message):
    with pytest.raises(UsageError, match=message):
        _read(tmp_path, text, "prompts.toml")
