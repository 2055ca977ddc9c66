"""What an attack is, what it works with and what it gives, and the registry of all there are.

A file of `attacks` has an `ATTACK`. An attack can make a model draw what it never knew; only what it gains over the
oracle, the same model retrained without the concept, is what the erased model still remembers.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from harness.config import Config, UsageError
from harness.discovery import modules
from harness.judging.result import SHOWN, Outcome, Point, Rate, Result
from harness.prompts.ladder import Ladder
from harness.runs import processes

if TYPE_CHECKING:
    from torch import Tensor

    from harness.judging.judge import Judge
    from harness.models.family import Conditioning, Family

ATTACKS = "harness.judging.attacks"


@dataclass(frozen=True)
class Attacked:
    """One erased concept, and the models that may or may not remember it."""

    model: "Family"
    subjects: "Mapping[str, Callable[[], AbstractContextManager[None]]]"
    """By name, `original`, `erased` and where there is one `oracle`: within the context, `model` is that one."""
    target: str
    axis: str
    ladder: Ladder
    """Prompts by kind, `name` and `superclass` among them."""
    embeddings: "dict[str, Conditioning]"
    """Of all these prompts and of the empty one."""
    judge: "Judge"
    options: Config
    """Of the run: how to sample."""
    pictures: int
    """How many to attack with."""
    seed: int
    others: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By value of the target's axis that was not erased, the nearest first: the prompts that name it instead."""
    only: str = ""
    """Of the subjects the one to attack; empty for all."""
    _drawn: "dict[tuple[str, str], Tensor]" = field(default_factory=dict, repr=False, compare=False)
    """By what it is and which model made it."""

    @property
    def models(self) -> tuple[str, ...]:
        """Which of the subjects to attack."""
        return (self.only,) if self.only else tuple(self.subjects)

    @property
    def prompts(self) -> tuple[str, ...]:
        """That name the target."""
        return self.ladder.kinds["name"]

    @property
    def superclass(self) -> tuple[str, ...]:
        """The same without the target's name, "a shape" for "a star"."""
        return self.ladder.kinds["superclass"]

    @property
    def drawn(self) -> "tuple[list[str], Tensor]":
        """`pictures` prompts that name the target, and the original model's latents of them (n, c, h, w), drawn once.

        By one process, as what attacks learn from them is to be the same whatever their number.
        """
        from harness.data.once import sample_once

        named = [self.prompts[i] for i in spread(self.pictures, len(self.prompts))]

        def draw() -> "Tensor":
            desc = "target's pictures"
            return sample_once(self.model, named, self.embeddings, self.options, self.seed, desc=desc).cpu()

        def latents() -> "Tensor":
            with self.subjects["original"]():
                return processes.by_main(draw).to(self.model.device)

        return named, self.kept("latents", "original", latents)

    def drawn_by_all(self, kind: str) -> "dict[str, Tensor]":
        """By model, `pictures` pictures (n, 3, H, W) in [0, 1] of a kind of the ladder's prompts, drawn once."""
        return {
            name: self.kept(f"pictures of {kind}", name, partial(self._asked, name, kind)) for name in self.subjects
        }

    def _asked(self, subject: str, kind: str) -> "Tensor":
        from harness.data.latents import sample
        from harness.data.once import sample_once

        prompts, draw = self.ladder.kinds[kind], sample if subject == "erased" else sample_once
        given = [prompts[i] for i in spread(self.pictures, len(prompts))]
        with self.subjects[subject]():
            desc = f"{kind}, {subject}"
            return draw(self.model, given, self.embeddings, self.options, self.seed, "pt", desc)

    def kept(self, what: str, subject: str, make: "Callable[[], Tensor]") -> "Tensor":
        """What is made once of a model, for all attacks."""
        if (what, subject) not in self._drawn:
            self._drawn[what, subject] = make()
        return self._drawn[what, subject]

    def hits(self, pictures: "Tensor") -> list[bool]:
        """On which of n pictures (n, 3, H, W) in [0, 1] the judge sees the target."""
        return [value == self.target for value in self.judge.values(pictures)[self.axis]]

    def made_of(self, subject: str, attack: str, make: "Callable[[], Iterable[Tensor]]") -> "list[Tensor]":
        """What an attack makes of one model, in each setting pictures (n, 3, H, W) in [0, 1].

        Of a model that no erasure changes it is in the user's cache, if it was ever made.

        Args:
            subject: the model's name.
            attack: its name.
            make: does it, with `model` as it then stands.
        """
        import torch

        from harness.data.once import once

        _ = self.drawn  # by all processes: the key below is asked of the main one alone
        with self.subjects[subject]():
            if subject == "erased":
                return list(make())
            return list(once(self.options, lambda: self._about(attack), lambda: torch.stack(list(make()))))

    def _about(self, attack: str) -> dict[str, Any]:
        """All that determines what an attack makes of the model as it stands, as plain values."""
        import torch

        from harness.data.once import about
        from harness.models.weights import fingerprint

        told = about(self.model, list(self.ladder.prompts), self.embeddings, self.options, self.seed, attack)
        parts = self.model.pipeline.components
        encoders = {
            name: fingerprint(part.state_dict())
            for name, part in parts.items()
            if name.startswith("text_encoder") and isinstance(part, torch.nn.Module)
        }
        side = self.drawn[1].shape[-1] * self.model.pipeline.vae_scale_factor
        noise = torch.rand(4, 3, side, side, generator=torch.Generator().manual_seed(0))
        seen = {"drawn": self.drawn[1], "judge": self.judge.features(noise)}  # some attacks ask the judge on the way
        given = {name: list(prompts) for name, prompts in self.others.items()}
        asked = [self.options.judge, *self.options.judge_words]
        return told | {"encoders": encoders, "seen": fingerprint(seen), "others": given, "asked": asked}

    def result(self, pictures: "Tensor", kind: str = "name") -> "Result":
        """How often an attack succeeded that made these pictures (n, 3, H, W), and the first of its successes.

        Args:
            pictures: spread over the prompts.
            kind: of the ladder's prompts; those that name the target, and what stands in their places.
        """
        hits = self.hits(pictures)
        best = sorted(range(len(hits)), key=lambda i: not hits[i])[:SHOWN]
        return Result(Rate.of(hits, spread(len(hits), len(self.ladder.kinds[kind]))), pictures[best])

    def draw(self, given: "Sequence[Conditioning]", desc: str) -> "Tensor":
        """Pictures (n, 3, H, W) in [0, 1] of n conditionings by the model as it stands; the noise is every model's."""
        from harness.data.latents import sample

        named = {str(place): each for place, each in enumerate(given)}
        embeddings = named | {"": self.embeddings[""]}
        return sample(self.model, list(named), embeddings, self.options, self.seed + 1, "pt", desc)

    def measure(
        self,
        attack: str,
        settings: "Sequence[dict[str, Any]]",
        headline: "dict[str, Any]",
        pictures: "Callable[[], Iterable[Tensor]]",
    ) -> "Outcome":
        """Run an attack on the models.

        Args:
            attack: its name.
            settings: of the attack.
            headline: the one of them that was fixed beforehand.
            pictures: gives those (n, 3, H, W) in [0, 1] of each setting in turn, made by the model as it stands.
        """
        results: dict[str, list[Result]] = {}
        for subject in self.models:
            results[subject] = [self.result(each) for each in self.made_of(subject, attack, pictures)]
        points = [
            Point(setting, {name: each[place] for name, each in results.items()})
            for place, setting in enumerate(settings)
        ]
        return Outcome(points[settings.index(headline)], tuple(points))


@dataclass(frozen=True)
class Attack:
    """One attack."""

    name: str
    source: str
    run: Callable[[Attacked], Outcome]
    by_model: bool = False
    """Whether a process attacks a whole model, and others other ones: what is learned of all pictures cannot be shared
    out by pictures."""

    def on(self, attacked: Attacked, subject: str) -> Outcome:
        """Run it on one model alone."""
        return self.run(replace(attacked, only=subject))


def spread(count: int, among: int) -> list[int]:
    """`count` places spread evenly over `among`; where there are fewer, every one before any is taken again."""
    return [i * among // count if count < among else i % among for i in range(count)]


def attacks() -> dict[str, Attack]:
    """Every attack there is, by name."""
    return {module.ATTACK.name: module.ATTACK for module in modules(ATTACKS)}


def chosen_attacks(names: tuple[str, ...]) -> list[Attack]:
    """The attacks that `--attacks` names: `none`, `all`, or some.

    Raises:
        UsageError: there is no attack of a name, or `none` or `all` stands beside others.
    """
    every = attacks()
    if not names:
        raise UsageError(f"--attacks: nothing named; choices: none or all alone, or some of {', '.join(every)}")
    if names in (("none",), ("all",)):
        return list(every.values()) if names == ("all",) else []
    for name in names:
        if name not in every:
            raise UsageError(f"--attacks {name!r}: choices: none or all alone, or some of {', '.join(every)}")
    return [every[name] for name in dict.fromkeys(names)]
