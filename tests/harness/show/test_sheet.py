"""The same seeds before and after: everything is shown that was announced, each picture under its prompt."""

import json
from itertools import pairwise

import pytest
import torch
from PIL import Image

from harness.config import Config
from harness.data.latents import seeds
from harness.judging.panel import SEED, SHOWN, Gallery, Panel, Row, lines, panel
from harness.prompts.concepts import Concept, Concepts, towards
from harness.show import sheet
from harness.show.screen import caption


def _concepts(*names, retained=16):
    concepts = tuple(
        Concept(name, "superclass", "away", None, (f"a {name}", f"two {name}s"), (), (), "kl") for name in names
    )
    return Concepts(concepts, tuple(f"a kept thing, {i}" for i in range(retained)))


def _pictures(shown, side=6):
    """Each picture of one level, which tells its place, a little lighter for the second model."""
    levels = torch.arange(len(shown.rows)).float()[:, None, None, None] / 255
    before = levels.expand(-1, 3, side, side)
    return {"original": before, "erased": before + 100 / 255, "oracle": None}


def test_of_a_real_model_every_concept_and_every_retained_picture_is_shown_once():
    nine = panel(_concepts(*"abcdefghi"), None)
    found = lines(nine)
    assert [place for line in found for place in line.places] == list(range(9 + 16))
    assert [(len(line.places), line.erased) for line in found] == [(8, True), (1, True), (8, False), (8, False)]
    assert len({nine.prompts[place] for line in found for place in line.places}) == 25


def test_of_a_vocabulary_every_erased_name_is_shown_and_some_kept_ones():
    rows = [Row(f"{name} {i}", name, {"shape": name}) for name in "abcdefghijkl" for i in range(14)]
    found = lines(Panel(tuple(rows), targets=8 * 14))
    assert [line.name for line in found] == [*"abcdefgh", *"ijk"]
    assert all(len({*line.places}) == 8 for line in found)
    assert all(rows[place].named == line.name for line in found for place in line.places)


def test_each_picture_is_a_file_at_full_size_with_its_prompt_and_seed(tmp_path):
    shown = panel(_concepts("cat"), None)
    sheet.save_pictures(tmp_path / "pictures", [Gallery(shown, _pictures(shown, side=40))])
    listed = json.loads((tmp_path / "pictures" / "pictures.json").read_text())["pictures"]
    assert len(listed) == 2 * (2 + 16) == len(list((tmp_path / "pictures").glob("*.png")))
    own = seeds(18, SEED)
    for entry in listed:
        place = int(entry["file"].partition("-")[0])
        assert (entry["prompt"], entry["seed"]) == (shown.prompts[place], own[place])
        with Image.open(tmp_path / "pictures" / entry["file"]) as picture:
            assert picture.size == (40, 40)
            assert picture.getpixel((0, 0)) == (place + 100 * (entry["model"] == "erased"),) * 3


@pytest.mark.parametrize("name", ["猫", "\N{CAT FACE}", "A$AP $", "bell\a"])
def test_any_name_can_be_drawn_without_a_warning(tmp_path, name, drawn):
    concepts = _concepts(name, retained=1)
    shown = panel(concepts, None)
    sheet.before_after(tmp_path / "sheet.png", [Gallery(shown, _pictures(shown))], concepts)
    with Image.open(tmp_path / "sheet.png") as drawing:
        assert drawing.width > 1500


def test_own_prompts_stand_below_what_is_judged_and_have_files_of_their_own(tmp_path, drawn):
    judged = Panel((Row("star 1", "star", {"shape": "star"}), Row("moon 1", "moon", {"shape": "moon"})), targets=1)
    own = Panel(tuple(Row(f"mine, {i}", SHOWN, {}) for i in range(9)), targets=0)
    galleries = [Gallery(judged, _pictures(judged)), Gallery(own, _pictures(own), "show-")]
    sheet.before_after(tmp_path / "small.png", galleries[:1], _concepts("star"))
    sheet.before_after(tmp_path / "sheet.png", galleries, _concepts("star"))
    with Image.open(tmp_path / "small.png") as small, Image.open(tmp_path / "sheet.png") as whole:
        assert whole.height > 2 * small.height
    sheet.save_pictures(tmp_path / "pictures", galleries)
    listed = json.loads((tmp_path / "pictures" / "pictures.json").read_text())["pictures"]
    assert len(listed) == 2 * (2 + 9)
    assert {"file": "show-008-erased.png", "model": "erased", "prompt": "mine, 8", "seed": seeds(9, SEED)[8]} in listed


def test_a_caption_cannot_steer_a_terminal():
    assert caption([["a\x1b[31m b", towards("a\x1b[31m b", "猫")]]) == '"a\\x1b[31m b" led towards "猫"'


def test_pictures_do_not_depend_on_how_many_are_made():
    many = seeds(64, 3)
    assert all(many[:count] == seeds(count, 3) for count in (1, 8, 63))
    assert all(one != other for one, other in pairwise(sorted(many)))
    assert Config().seed != SEED
