"""The bank of templates and of concepts to retain."""

import re
from pathlib import Path

import pytest
import yaml

import harness

BANK = yaml.safe_load((Path(harness.__file__).parent / "prompts" / "prompts.yaml").read_text())
TYPES = ["object", "style", "person", "safety", "text"]
TARGETS = ["Van Gogh", "a grumpy cat", "Elon Musk", "nudity", "a brand name"]
TEMPLATE = re.compile(r"([^][{}|]*)\[([^][{}|]*\{\}[^][{}|]*)\|([^][{}|]*)\]([^][{}|]*)")
"""One bracket with two sides, and the concept once, in its first."""
MOST_WORDS = 20
"""CLIP reads 77 tokens, and a word is seldom more than three."""


def _forms(template):
    """A template with the concept and without, the concept still at {}."""
    before, concept, superclass, after = TEMPLATE.fullmatch(template).groups()
    return before + concept + after, before + superclass + after


def test_there_is_a_bank_for_each_type_of_concept():
    assert list(BANK) == TYPES
    assert all(list(each) == ["templates", "retain"] for each in BANK.values())


@pytest.mark.parametrize("kind", TYPES)
def test_there_are_enough_of_each_none_twice_in_lower_case(kind):
    for name, least, most in [("templates", 12, 20), ("retain", 40, 60)]:
        lines = BANK[kind][name]
        assert all(isinstance(line, str) and line == line.lower() for line in lines)
        assert least <= len(set(lines)) == len(lines) <= most
    for forms in zip(*map(_forms, BANK[kind]["templates"]), strict=True):
        assert len(set(forms)) == len(BANK[kind]["templates"])


@pytest.mark.parametrize("kind", TYPES)
def test_both_forms_of_every_template_are_clean_short_sentences(kind):
    for template in BANK[kind]["templates"]:
        concept, superclass = _forms(template)
        for prompt in [superclass, *(concept.replace("{}", each) for each in [*BANK[kind]["retain"], *TARGETS])]:
            assert re.fullmatch(r"[\w'.-]+(,? [\w'.-]+)*", prompt), prompt
            assert len(prompt.split()) < MOST_WORDS, prompt


@pytest.mark.parametrize("kind", TYPES)
def test_no_bracket_stands_within_a_word(kind):
    for template in BANK[kind]["templates"]:
        before, concept, superclass, after = TEMPLATE.fullmatch(template).groups()
        for middle in filter(None, (concept, superclass)):
            assert not re.search(r"\w\|\w", f"{before}|{middle}|{after}".replace("{}", "x")), template


@pytest.mark.parametrize("kind", TYPES)
def test_only_the_form_with_the_concept_names_it(kind):
    for template in BANK[kind]["templates"]:
        concept, superclass = _forms(template)
        assert concept.count("{}") == 1
        assert superclass not in ("", concept)


def test_objects_have_an_article_and_names_of_persons_and_styles_have_none():
    assert all(re.match("an? ", each) for each in BANK["object"]["retain"])
    assert not any(re.match("(an?|the) ", each) for kind in ("person", "style") for each in BANK[kind]["retain"])
    assert all(re.match("an [aeiou]|a [^aeiou]", each) for each in BANK["object"]["retain"])
