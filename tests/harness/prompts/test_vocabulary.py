"""What a model's folder says of its world."""

import json

import pytest

from harness.config import WEIGHTS, UsageError
from harness.miniature import world
from harness.prompts.vocabulary import read_vocabulary


@pytest.fixture(scope="module")
def vocabulary():
    return read_vocabulary(WEIGHTS)


def test_the_shipped_vocabulary_is_the_worlds(vocabulary):
    assert vocabulary.axes == world.AXES
    assert vocabulary.templates == world.TEMPLATES


def test_captions_and_combinations_name_the_same_values_in_the_same_order(vocabulary):
    captions = vocabulary.captions("{shape}/{colour}/{style}", {"shape": ["moon"]})
    rows = vocabulary.combinations({"shape": ["moon"]})
    assert captions == ["/".join(row[axis] for axis in world.AXES) for row in rows]
    assert len(set(captions)) == 36


@pytest.mark.parametrize(
    "change",
    [
        {"templates": []},
        {"templates": ["{foo}"]},
        {"templates": ["{"]},
        {"templates": "a {shape}"},
        {"superclass": {}},
        {"axes": {"shape": "circle"}},
        {"axes": {"shape": ["circle", 3]}},
        {"axes": {"shape": []}},
        {"default": None},
        {"max_sequence_length": -3},
        {"max_sequence_length": "1"},
    ],
)
def test_a_vocabulary_that_cannot_be_read_is_one_line(tmp_path, change):
    whole = json.loads((WEIGHTS / "vocabulary.json").read_text())
    (tmp_path / "vocabulary.json").write_text(json.dumps(whole))
    assert read_vocabulary(tmp_path).axes == world.AXES
    (tmp_path / "vocabulary.json").write_text(json.dumps(whole | change))
    with pytest.raises(UsageError, match="no vocabulary with axes, templates, superclass and a default"):
        read_vocabulary(tmp_path)
