"""What a judge is asked to tell apart: by axis the words that it may answer, and the prompts that say each of them.

A model with a vocabulary is judged on its axes. Any other has one axis, `concept`, with the targets and what they are
to be told from: the words of `--judge-words`, or by default what is put in a target's place. A word may stand with the
name that the judge has for it, "nudity=nsfw".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.config import Config, UsageError
from harness.prompts.draft import Draft
from harness.prompts.templates import fill, templates_of
from harness.prompts.vocabulary import Vocabulary
from harness.prompts.wishes import same

CONCEPT = "concept"
"""The axis of a model without a vocabulary."""
OTHERS = 7
"""Words that targets are told from by default, where there are many."""


@dataclass(frozen=True)
class Words:
    """What a judge may answer, and what it is called."""

    axes: Mapping[str, tuple[str, ...]]
    """The words by axis."""
    prompts: Mapping[str, tuple[str, ...]]
    """By word those that say it, and nothing of another axis."""
    names: Mapping[str, str]
    """By word what the judge calls it; a word that is not here is called as it is."""

    @classmethod
    def of(cls, draft: Draft) -> "Words":
        """Those of the model's vocabulary, or of a draft and `--judge-words`.

        Raises:
            UsageError: words that cannot be used, or nothing to tell the target from.
        """
        given = _given(draft.options)
        if draft.vocabulary is not None:
            return _known(draft.vocabulary, given)
        words = [*(wish.target for wish in draft.erased), *draft.earlier]
        others = [word for word in given if word not in words] or _usual(draft)
        for i, word in enumerate(others):
            if any(same(word, each) for each in (*words, *others[:i])):
                raise UsageError(f"--judge-words {word!r}: stands for the same as another word, or as the target")
        templates = templates_of(draft.erased[0].options)
        prompts = {word: tuple(fill(each, word) for each in templates) for word in (*words, *others)}
        return cls({CONCEPT: (*words, *others)}, prompts, given)

    def axis_of(self, word: str) -> str:
        """The axis that holds a word."""
        return next(axis for axis, words in self.axes.items() if word in words)

    def name(self, word: str) -> str:
        """What the judge calls it."""
        return self.names.get(word, word)


def _given(options: Config) -> dict[str, str]:
    """`--judge-words` by word, each with the judge's name for it."""
    result: dict[str, str] = {}
    for entry in options.judge_words:
        word, equals, name = (part.strip() for part in entry.partition("="))
        if not word or (equals and not name):
            raise UsageError(f"--judge-words {entry!r}: expected a word, or WORD=NAME with the judge's name for it")
        if word in result:
            raise UsageError(f"--judge-words {entry!r}: {word!r} is given twice")
        result[word] = name or word
    return result


def _known(vocabulary: Vocabulary, given: Mapping[str, str]) -> Words:
    """The vocabulary's words; those given can do no more than say what the judge calls them."""
    for word in given:
        vocabulary.axis_of(word)  # refuses what it does not know
    prompts = {word: _saying(vocabulary, axis, word) for axis, words in vocabulary.axes.items() for word in words}
    return Words(vocabulary.axes, prompts, given)


def _saying(vocabulary: Vocabulary, axis: str, word: str) -> tuple[str, ...]:
    """Each template with the word, and with no other axis named."""
    plain: Sequence[str] = vocabulary.templates
    for other in vocabulary.axes.keys() - {axis}:
        plain = [vocabulary.unnamed(template, other) for template in plain]
    return tuple(dict.fromkeys(template.format(**{axis: word}).strip() for template in plain))


def _usual(draft: Draft) -> list[str]:
    """What is put in a target's place: what a judge has to tell it from."""
    gone = [*(wish.target for wish in draft.erased), *draft.earlier]
    found = [anchor for wish in draft.erased for anchor in wish.named_anchors[:OTHERS]]
    others = [word for word in dict.fromkeys(found) if not any(same(word, each) for each in gone)]
    if not others:
        raise UsageError(
            f"--judge-words is needed: words of what the judge is to tell {gone[0]!r} from, since no concept with a "
            'name is put in its place, such as --judge-words "a cat" "a horse"'
        )
    return others[:OTHERS]
