"""One dataclass from which flags and files derive."""

from dataclasses import fields
from pathlib import Path

import pytest

from harness.config import Config, UsageError, parse, to_dict


def test_no_flags_give_the_defaults():
    assert parse([]) == Config()


def test_every_option_is_a_flag_and_is_described(capsys):
    with pytest.raises(SystemExit) as caught:
        parse(["--help"])
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    for field in fields(Config):
        assert f"--{field.name.replace('_', '-')}" in shown


def test_a_file_sets_options_and_flags_go_over_it(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text(
        "retain-weight: 0.5\nsteps: 7\nretain: [a moon, a ring]\n"
        "overwrite: true\ndivergence: alpha:a=0.3\noutput: out\n"
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
        ("colour: red", "unknown option 'colour'; choices: model, target"),
        ("- a\n- b", "expected a mapping of options, got a list"),
        ("a: [", "not YAML"),
        ("steps: 3\nsteps: 4", "'steps' is given twice"),
        ("false", "expected a mapping of options, got a bool"),
        ("retain: {a: b}", "expected a value or a list of values"),
    ],
)
def test_a_bad_file_is_one_line(tmp_path, text, message):
    file = tmp_path / "run.yaml"
    file.write_text(text)
    with pytest.raises(UsageError, match=message) as caught:
        parse(["--config", str(file)])
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_said_to_be_missing(tmp_path):
    with pytest.raises(UsageError, match="no such file"):
        parse(["--config", str(tmp_path / "none.yaml")])


@pytest.mark.parametrize(
    "flags",
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
def test_a_number_out_of_range_is_refused_by_name(flags):
    with pytest.raises(UsageError, match=f"{flags[0]} .*must be"):
        parse(flags)


@pytest.mark.parametrize("flags", [["--objective", "magic"], ["--stepz", "3"], ["--steps", "many"]])
def test_wrong_flags_end_with_exit_code_2(flags, capsys):
    with pytest.raises(SystemExit) as caught:
        parse(flags)
    assert caught.value.code == 2
    capsys.readouterr()


def test_options_survive_as_plain_json_values():
    import json

    assert json.loads(json.dumps(to_dict(Config(output=Path("x")))))["output"] == "x"
