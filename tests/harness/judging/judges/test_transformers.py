"""CLIP and classifiers of transformers as judges: read from folders, right on pictures that the world drew."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from harness.config import Config, UsageError
from harness.judging.judge import Choice, TextJudge, choose
from harness.prompts.draft import Draft
from harness.prompts.words import CONCEPT, Words
from tests import judges

WORDS = Words({CONCEPT: judges.SHAPES}, {shape: (f"a {shape}",) for shape in judges.SHAPES}, {})
KINDS = ("clip", "classifier")


def _choose(judge, *words, target="star", **options):
    given = Config(target=target, judge=judge, judge_words=words, **options)
    return choose(given, None, Draft.of(given, None))


def _right(judge, count=100):
    pictures, which = judges.shapes(count, seed=99)
    seen = judge.values(pictures)[CONCEPT]
    return sum(judges.SHAPES[i] == word for i, word in zip(which.tolist(), seen, strict=True)) / count


@pytest.mark.parametrize("kind", KINDS)
def test_a_judge_that_was_trained_is_right_on_pictures_it_has_not_seen(kind, request):
    judge = Choice(kind, str(request.getfixturevalue(kind)), WORDS, True).load(torch.device("cpu"))
    assert _right(judge) > 0.85
    assert judge.features(judges.shapes(3, seed=1)[0]).shape == (3, 32)
    assert isinstance(judge, TextJudge) == (kind == "clip")


def test_a_clips_features_have_length_one_and_do_not_depend_on_the_batch(clip):
    judge = Choice("clip", str(clip), WORDS, True).load(torch.device("cpu"))
    pictures = judges.shapes(40, seed=1)[0]
    features, texts = judge.features(pictures), judge.text_features(["a star", "a word " * 40])
    torch.testing.assert_close(features.norm(dim=1), torch.ones(40))
    torch.testing.assert_close(texts.norm(dim=1), torch.ones(2))
    torch.testing.assert_close(judge.features(pictures[35:36]), features[35:36], atol=1e-5, rtol=0)


def test_a_clip_reads_the_name_that_a_word_is_given(clip):
    """Asked for a star by the name of a moon, it sees one where there is a moon."""
    names = {"star": "a moon", "moon": "a star"}
    judge = Choice("clip", str(clip), Words(WORDS.axes, WORDS.prompts, names), True).load(torch.device("cpu"))
    pictures, which = judges.shapes(60, seed=5)
    seen = judge.values(pictures)[CONCEPT]
    stars = [word for i, word in zip(which.tolist(), seen, strict=True) if judges.SHAPES[i] == "star"]
    assert stars.count("moon") / len(stars) > 0.8


def test_a_classifiers_labels_are_matched_by_any_name_they_list_and_others_may_be_answered(classifier, tmp_path):
    folder = _relabelled(classifier, tmp_path / "named", ["pentagram, Five-pointed Star", "CIRCLE", "crescent"])
    judge = _choose(f"classifier:{folder}", "a circle", target="a five pointed star").load(torch.device("cpu"))
    seen = judge.values(judges.shapes(60, seed=5)[0])[CONCEPT]
    assert set(seen) == {"a five pointed star", "a circle", "crescent"}
    judge = _choose(f"classifier:{folder}", "star=pentagram", "round=circle").load(torch.device("cpu"))
    assert set(judge.values(judges.shapes(60, seed=5)[0])[CONCEPT]) == {"star", "round", "crescent"}


def test_an_axis_is_answered_by_no_other_axiss_labels(classifier):
    words = Words({"shape": ("star", "circle"), "other": ("moon",)}, {}, {})
    seen = Choice("classifier", str(classifier), words, True).load(torch.device("cpu")).values(judges.shapes(60, 5)[0])
    assert set(seen["shape"]) == {"star", "circle"}
    assert set(seen["other"]) == {"moon"}


def _relabelled(folder, to, labels):
    shutil.copytree(folder, to)
    content = json.loads((to / "config.json").read_text())
    content |= {"id2label": dict(enumerate(labels)), "label2id": {label: i for i, label in enumerate(labels)}}
    (to / "config.json").write_text(json.dumps(content))
    return to


def _without(folder, to, name):
    shutil.copytree(folder, to, ignore=shutil.ignore_patterns(name))
    return to


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("lacks", "message"),
    [
        ("config.json", "no config.json in it"),
        ("preprocessor_config.json", "no preprocessor_config.json in it"),
        ("*.safetensors", "needed are weights"),
    ],
)
def test_a_folder_without_a_part_is_refused_before_anything_is_loaded(kind, lacks, message, request, tmp_path):
    folder = _without(request.getfixturevalue(kind), tmp_path / "part", lacks)
    with pytest.raises(UsageError, match=message):
        _choose(f"{kind}:{folder}", "circle")


def test_pickled_weights_are_refused(clip, tmp_path):
    folder = _without(clip, tmp_path / "pickled", "*.safetensors")
    (folder / "pytorch_model.bin").touch()
    with pytest.raises(UsageError, match="pickled weights can run any code"):
        _choose(f"clip:{folder}", "circle")


def test_what_is_no_such_model_is_refused(clip, classifier, tmp_path):
    with pytest.raises(UsageError, match="a model of the type resnet; needed is clip"):
        _choose(f"clip:{classifier}", "circle")
    with pytest.raises(UsageError, match=r"holds \['CLIPModel'\]; needed is a model ...ForImageClassification"):
        _choose(f"classifier:{clip}", "circle")
    with pytest.raises(UsageError, match="a file; needed is a folder"):
        _choose(f"clip:{clip / 'config.json'}", "circle")
    with pytest.raises(UsageError, match="no such folder"):
        _choose(f"clip:{tmp_path / 'nowhere'}", "circle")


def test_an_unknown_word_lists_the_labels_and_two_words_may_not_have_one(classifier):
    with pytest.raises(UsageError, match="no label 'a comet'; its labels: star; circle; moon; --judge-words 'a comet'"):
        _choose(f"classifier:{classifier}", "a comet")
    with pytest.raises(UsageError, match="the label 'circle' is that of 'round' and of another word"):
        _choose(f"classifier:{classifier}", "circle", "round=circle")


def test_damaged_weights_and_a_hub_id_that_is_not_there_are_one_line(clip, tmp_path):
    folder = _without(clip, tmp_path / "damaged", "model.safetensors")
    (folder / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(UsageError, match="cannot be read") as found:
        _choose(f"clip:{folder}", "circle").load(torch.device("cpu"))
    assert "\n" not in str(found.value)
    with pytest.raises(UsageError, match="--judge clip:no-one/no-model cannot be read") as found:
        _choose("clip:no-one/no-model", "circle", offline=True).load(torch.device("cpu"))
    assert "\n" not in str(found.value)


def test_weights_of_which_some_are_missing_are_refused(clip, tmp_path):
    folder = _without(clip, tmp_path / "missing", "model.safetensors")
    tensors = load_file(clip / "model.safetensors")
    tensors.pop("visual_projection.weight")
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(UsageError, match=r"1 of its weights are not in its files, such as visual_projection.weight"):
        _choose(f"clip:{folder}", "circle").load(torch.device("cpu"))
