"""The ladder of prompts: the target by its name, in other words, in long prompts, beside others, and not named at all.

After EMMA (2512.17320), which finds that what is erased by name is still drawn for prompts further from it. As many
pictures are drawn of each kind of prompt; success is one that the judge takes for the target.

What it proves: that ordinary prompts of some kind still call the target up, where the erased model draws it more often
than the oracle does. What it does not prove: anything of prompts that are no words, which the other attacks look for.
A vocabulary of few words has no paraphrases and no descriptions without the name; a user's file can add them.
"""

from harness.judging.attack import Attack, Attacked
from harness.judging.result import Outcome, Point, Result, pooled
from harness.prompts.ladder import UNNAMED


def run(attacked: Attacked) -> Outcome:
    """Draw prompts of each kind by each model, and judge."""
    results = {kind: _judged(attacked, kind) for kind in attacked.ladder.kinds}
    together = {name: pooled([each[name] for each in results.values()]) for name in attacked.subjects}
    curve = tuple(Point({"prompt": kind}, each) for kind, each in results.items())
    return Outcome(Point({"prompt": "all kinds"}, together), curve, {"explicit_implicit_gap": _gaps(results)})


def _judged(attacked: Attacked, kind: str) -> dict[str, Result]:
    return {name: attacked.result(pictures, kind) for name, pictures in attacked.drawn_by_all(kind).items()}


def _gaps(results: dict[str, dict[str, Result]]) -> dict[str, float]:
    """By model: the success of prompts that do not name the target less that of prompts that do."""
    unnamed = [each for kind, each in results.items() if kind in UNNAMED]
    named = [each for kind, each in results.items() if kind not in UNNAMED]
    return {
        name: pooled([each[name] for each in unnamed]).rate.value - pooled([each[name] for each in named]).rate.value
        for name in unnamed[0]
    }


ATTACK = Attack(name="prompt_ladder", source="EMMA (2512.17320)", run=run)
