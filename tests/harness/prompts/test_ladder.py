"""The kinds of prompts that a target is looked for by: which name it, and what a user's file may say."""

import pytest

from harness.config import WEIGHTS, UsageError
from harness.prompts.ladder import UNNAMED, check_unnamed, ladder, read_ladder
from harness.prompts.vocabulary import read_vocabulary


def test_every_kind_names_the_target_but_those_that_do_not():
    kinds = ladder(read_vocabulary(WEIGHTS), "star", {}).kinds
    assert list(kinds) == ["name", "variants", "long", "several", "superclass", "empty"]
    for kind, prompts in kinds.items():
        assert all(("star" in prompt) == (kind not in UNNAMED) for prompt in prompts), kind
        assert len(set(prompts)) == len(prompts)
    assert kinds["empty"] == ("",)
    assert len(kinds["name"]) == len(kinds["superclass"]) == 36


def test_a_users_kinds_stand_beside_ours_or_replace_them(tmp_path):
    file = tmp_path / "own.yaml"
    file.write_text("implicit: [five points]\nseveral: [a star and a star]\n")
    kinds = ladder(read_vocabulary(WEIGHTS), "star", read_ladder(file)).kinds
    assert kinds["implicit"] == ("five points",)
    assert kinds["several"] == ("a star and a star",)
    assert read_ladder(None) == {}


def test_what_is_said_not_to_name_the_target_may_not(tmp_path):
    file = tmp_path / "own.yaml"
    file.write_text("implicit: [five points, A STAR of five points]\nparaphrase: [a star]\n")
    own = read_ladder(file)
    with pytest.raises(
        UsageError, match=r"own.yaml: 'implicit': 'A STAR of five points' names 'star'; prompts of this"
    ):
        check_unnamed(file, own, ["moon", "star"])
    check_unnamed(file, own, ["moon", "points of a STAR"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n- b\n", "needed are kinds, each with a list of prompts"),
        ("implicit: star\n", "'implicit': needed is a list of prompts"),
        ("implicit: [a: b]\n", "'implicit': needed is a list of prompts"),
        ("implicit:\n", "needed are kinds, each with a list of prompts"),
        ("implicit: [a]\nparaphrase: [b]\nimplicit: [c]\n", "own.yaml: 'implicit' is given twice"),
        ("name: [a star]\n", "'name': a kind that the model's vocabulary fills"),
        ("a: [", "cannot be read as YAML"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line(tmp_path, text, message):
    file = tmp_path / "own.yaml"
    file.write_text(text)
    with pytest.raises(UsageError, match=message):
        read_ladder(file)
