"""One dataclass from which flags and files derive."""

import json
from dataclasses import fields, replace
from pathlib import Path

import pytest

from harness.config import Config, UsageError, check, flag_of, from_dict, to_dict
from harness.erasure.erase import options_of
from harness.plan import Plan
from harness.runs.command import check_unchanged, flags, options_of_preset, parse, presets, presets_of


def test_no_flags_give_the_defaults():
    assert parse([]) == Config()
    assert presets_of(Config()) == []


def test_every_option_is_a_flag_and_is_described(capsys):
    with pytest.raises(SystemExit) as caught:
        parse(["--help"])
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    for field in fields(Config):
        assert flag_of(field.name) in shown


def test_a_file_sets_options_and_flags_go_over_it(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text(
        "retain-weight: 0.5\nsteps: 7\nretain: [a moon, a ring]\n"
        "overwrite: True\ndivergence: alpha:a=0.3\noutput: out\nprompts: null\noffline: off\nvariant:\nrevision: ~\n"
    )
    read = parse(["--steps", "9", "--config", str(file)])
    assert read == Config(
        retain_weight=0.5,
        steps=9,
        retain=("a moon", "a ring"),
        overwrite=True,
        divergence="alpha:a=0.3",
        output=Path("out"),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("colour: red", "unknown option 'colour'; choices: --model, --target"),
        ("- a\n- b", "expected a mapping of options, got a list"),
        ("a: [", "cannot be read as YAML"),
        ("steps: 3\nsteps: 4", "'steps' is given twice"),
        ("batch-size: 3\nbatch_size: 4", "--batch-size is given twice"),
        ("offline: 1", "offline: '1': must be true or false"),
        ("retain: [a moon, --steps, 9]", "'--steps' begins with a dash"),
        ("[" * 5000, "cannot be read as YAML"),
        ("false", "expected a mapping of options, got a str"),
        ("retain: {a: b}", "expected a value or a list of values"),
    ],
)
def test_a_bad_file_is_one_line(tmp_path, text, message):
    file = tmp_path / "run.yaml"
    file.write_text(text)
    with pytest.raises(UsageError, match=message) as caught:
        parse(["--config", str(file)])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "origin: anchor\nsteps: many\n",
            "steps: Error parsing --steps: invalid literal for int() with base 10: ",
        ),
        ("scale: big\n", "scale: invalid choice 'big' for argument '--scale'. Expected one of ('auto', 'posterior'"),
    ],
)
def test_a_value_of_another_type_is_said_to_be_the_files(tmp_path, text, message):
    (tmp_path / "run.yaml").write_text(text)
    with pytest.raises(UsageError) as caught:
        parse(["--config", str(tmp_path / "run.yaml")])
    assert str(caught.value).startswith(f"--config {tmp_path / 'run.yaml'}: {message}")


def test_a_preset_goes_before_a_file_and_flags_go_over_both(tmp_path):
    (tmp_path / "run.yaml").write_text("steps: 7\nseed: 3\n")
    read = parse(["--preset", "f-dmu", "--steps", "9", "--config", str(tmp_path / "run.yaml")])
    assert (read.steps, read.seed, read.schedule) == (9, 3, "constant")
    recipe = parse(["--preset", "f-dmu"])
    assert (recipe.steps, recipe.batch_size, recipe.origin, recipe.scale) == (500, 2 * 2, "anchor", "unit")
    assert recipe.learning_rate == pytest.approx(7e-5 * 2 * 2)
    assert (recipe.parameter_group, recipe.retain_weight, recipe.latents) == ("cross-attention-kv", 0.0, 1000)
    with pytest.raises(UsageError, match="--preset dmu: no such recipe; choices: f-dmu, concept-ablation, sd15-style"):
        parse(["--preset", "dmu"])


@pytest.mark.parametrize("name", presets())
def test_every_preset_says_what_it_rests_on_and_can_be_used(name, model, capsys):
    recipe = presets()[name]
    assert recipe.keys() == {"for", "source", "apart", "options"}
    assert "arXiv" in recipe["source"]
    options = parse(["--preset", name, "--target", "a star", "--model", str(model)])
    assert f"note: --preset {name} ({recipe['for']}) is {recipe['source']}. What no" in capsys.readouterr().err
    assert options_of_preset(name) == replace(options, target="", model=Config().model)
    assert name in presets_of(options)
    assert name not in presets_of(replace(options, scale="posterior"))
    (concept,) = Plan.of(options).draft.erased
    assert concept.options.concept_type == recipe["options"].get("concept-type")


def test_a_preset_says_in_full_what_another_default_would_change():
    """What moves the weights is set by each, so that a default of ours that changes does not change a recipe."""
    for name, recipe in presets().items():
        needed = {
            "divergence",
            "origin",
            "parameter-group",
            "scale",
            "steps",
            "objective",
            "closed-form-every",
            "start",
        }
        needed |= (
            {"batch-size", "learning-rate", "schedule", "retain-weight", "latents"} if name != "uce" else {"start"}
        )
        assert recipe["options"].keys() >= needed, name


def test_a_value_of_a_file_may_begin_with_a_dash(tmp_path):
    (tmp_path / "run.yaml").write_text("target: -star\n")
    assert parse(["--config", str(tmp_path / "run.yaml")]).target == "-star"


@pytest.mark.parametrize("word", ["no", "010", "12:30", "1_000", "2020-13-45", "!!int foo"])
def test_a_word_of_a_file_stays_what_it_is(tmp_path, word):
    (tmp_path / "run.yaml").write_text(f"target: {word}\nretain: [yes, 1e3]\ncontinue: elsewhere\n", "utf-8-sig")
    assert flags(tmp_path / "run.yaml") == [
        f"--target={word.removeprefix('!!int ')}",
        *("--retain", "yes", "1e3"),
        "--continue=elsewhere",
    ]


def test_a_missing_file_is_said_to_be_missing(tmp_path):
    with pytest.raises(UsageError, match="No such file"):
        parse(["--config", str(tmp_path / "none.yaml")])


@pytest.mark.parametrize(
    "given",
    [
        ["--steps", "0"],
        ["--batch-size", "-1"],
        ["--latents", "0"],
        ["--learning-rate", "0"],
        ["--learning-rate", "nan"],
        ["--retain-weight", "-0.1"],
        ["--guidance-scale", "inf"],
        ["--guidance-scale", "-1"],
        ["--seed", "100000000000000000000"],
    ],
)
def test_a_number_out_of_range_is_refused_by_name(given):
    with pytest.raises(UsageError, match=f"{given[0]} .*must be"):
        parse(given)


@pytest.mark.parametrize("given", [["--objective", "magic"], ["--stepz", "3"], ["--steps", "many"]])
def test_wrong_flags_end_with_exit_code_2(given, capsys):
    with pytest.raises(SystemExit) as caught:
        parse(given)
    assert caught.value.code == 2
    capsys.readouterr()


def test_options_survive_as_plain_json_values():
    import json

    assert json.loads(json.dumps(to_dict(Config(output=Path("x")))))["output"] == "x"


def test_options_come_back_from_their_json():
    for name, value in (("steps", "abc"), ("retain", 5)):
        with pytest.raises(UsageError, match=f"{flag_of(name)} .*: kept by a run, and no "):
            from_dict({name: value})
    options = Config(retain=("a", "b"), prompts=Path("p.txt"), output=Path("o"))
    assert from_dict(json.loads(json.dumps(to_dict(options)))) == options
    assert from_dict({}) == Config()


def test_a_whole_number_for_a_fraction_is_one_and_follows_no_recipe_but_its_own():
    given = {"guidance_scale": 7, "learning_rate": 1}
    found = options_of(given, "model", "concept-ablation")
    assert (found.guidance_scale, type(found.guidance_scale)) == (7.0, float)
    assert presets_of(found) == []
    assert from_dict(to_dict(found)) == found
    followed = options_of_preset("concept-ablation")
    assert presets_of(replace(followed, retain_weight=0)) == ["concept-ablation"]
    for other in ({"objective": "variational"}, {"closed_form_every": 1}, {"start": "closed-form"}):
        assert presets_of(replace(followed, **other)) == []


def test_a_run_may_go_on_with_other_prompts_to_show():
    check_unchanged(Config(), Config(show=Path("mine.txt"), track=("tensorboard",)))
    with pytest.raises(UsageError, match="--steps"):
        check_unchanged(Config(), Config(steps=7))


def test_a_closed_form_cannot_lead_away():
    with pytest.raises(UsageError, match=r"--anchor-guidance -1: leads away from the target"):
        check(Config(start="closed-form", anchor_guidance=-1.0))
