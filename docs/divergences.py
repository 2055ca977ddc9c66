"""Write docs/divergences.md and its pictures from the catalogue: ``python docs/divergences.py``.

Nothing about a divergence is written by hand here: formulas, evidence, equivalents and advice are computed.
"""

from __future__ import annotations

import sys
import textwrap
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import sympy
from sympy.codegen.cfunctions import expm1

sys.path.insert(0, str(Path(__file__).parent.parent))

import fdiv
from fdiv.exact.domain import Interval
from fdiv.exact.symbols import DerivationError
from fdiv.numeric.rewrite import softplus
from fdiv.show.describe import activation_kind
from fdiv.show.plots import generator_values, weight_scale
from fdiv.show.readable import domain_text, label, readable

HERE = Path(__file__).parent
PICTURES = HERE / "divergences"
S = np.geomspace(1e-3, 1e3, 121)
RATIOS = np.linspace(0.02, 4, 200)
_HEAD = """# The divergences

Written by `python docs/divergences.py` from the catalogue; every line is computed from the generators. f is the
generator, D(s) the divergence of two normal distributions with one covariance, s = |mu_P - mu_Q|^2 / sigma^2,
w(s) = dD/ds the weight with which the loss answers an error of size s. Families are shown at an example of their
parameters. softplus(x) = log(1 + e^x), and W is Lambert's function. Two entries are nearly multiples of each other
where their D(s) are within 5 % of it for s from 0.001 to 100. `python -m fdiv check NAME` prints the reason for each
**proved**, **certified** and **tested**; `GaussianLoss` is `fdiv.losses.GaussianLoss`. Renyi, Chernoff and
Bhattacharyya are no f-divergences but increasing functions of alpha: see `fdiv.monotone`.
"""


def examples() -> list[fdiv.Divergence]:
    """Every entry, families at their parameters' examples."""
    return [fdiv.divergence(r.name, **{p.name: p.example for p in r.parameters}) for r in fdiv.CATALOG.values()]


def latex(expression: Any) -> str:
    """KaTeX-ready LaTeX of an expression, a Piecewise as cases; only \\frac divides, for a/2 s reads as (a/2) s."""
    shown = sympy.nsimplify(expression, rational=True) if expression.has(sympy.Float) else expression
    shown = shown.replace(expm1, lambda x: sympy.exp(x) - 1)
    shown = shown.replace(softplus, lambda x: sympy.Function(r"\operatorname{softplus}")(x))
    text = sympy.latex(shown, ln_notation=False, fold_short_frac=False)
    return text.replace(r"\begin{cases}", r"\begin{cases} ").replace(r"\text{otherwise}", r"\text{else}")


def interval(domain: Interval) -> str:
    """LaTeX of an interval."""
    brackets = "[" if domain.lower_closed else "(", "]" if domain.upper_closed else ")"
    return rf"\left{brackets[0]}{latex(readable(domain.lower))}, {latex(readable(domain.upper))}\right{brackets[1]}"


def formulas(shown: fdiv.Divergence) -> list[str]:
    """The derived formulas, one display each."""
    conjugate, gaussian = shown.conjugate, shown.gaussian
    generator = shown.generator if not shown.parameters else shown.record.generator
    lines = [f"f(u) = {latex(generator)}"]
    star = conjugate.formula
    if star is None:
        lines.append(r"f^*(t) = u\,t - f(u) \text{ at the root of } f'(u) = t \text{ (no formula in } t)")
    else:
        lines.append(rf"f^*(t) = {latex(readable(star))} \quad t \in {interval(conjugate.effective_domain)}")
    try:
        lines.append(f"T(v) = {latex(readable(shown.activation.output))}")
    except DerivationError as error:
        lines.append(rf"\text{{no activation: {error}}}")
    if gaussian.formula is not None:
        lines.append(f"D(s) = {latex(readable(gaussian.formula))}")
    if gaussian.gradient_weight_formula is not None:
        lines.append(f"w(s) = {latex(readable(gaussian.gradient_weight_formula))}")
    return lines


def advice(shown: fdiv.Divergence) -> str:
    """When to use it, from computed facts alone."""
    if not shown.gaussian.evaluable:
        return f"Not between Gaussians: {shown.gaussian.reason}."
    return " ".join([_small_errors(shown), _large_errors(shown), _worst_case(shown)])


def _small_errors(shown: fdiv.Divergence) -> str:
    curvature = shown.curvature
    if shown.reduces_to_mse:
        return f"For small errors it is {weight_scale(shown):.6g} times the squared error s."
    if curvature is None:
        start = shown.gaussian.gradient_weight(0.0)
        return f"The curvatures of f on the two sides of u = 1 differ; D(s)/s tends to half their mean, {start:.6g}."
    if curvature == 0:
        return (
            "It is flat at u = 1: w(0) = 0, so that small errors are left alone. Take it where nearly right is right "
            "enough, not where the model must reach the anchor."
        )
    kinked = "It has a kink at u = 1" if dict(shown.kinks).get(sympy.S.One) else "Its curvature at u = 1 is infinite"
    return (
        f"{kinked}: w(s) is infinite at 0, so that the gradient does not fade as the error does. Take it where exact "
        "equality is wanted, with a learning rate that decays."
    )


def _large_errors(shown: fdiv.Divergence) -> str:
    """How w grows or decays at large s."""
    low, mid, far = (shown.gaussian.gradient_weight(x) for x in (1.0, 25.0, 100.0))
    ratio = far / mid if mid else 0.0
    values = f"w(1) = {low:.4g}, w(25) = {mid:.3g}, w(100) = {far:.3g}"
    if not np.isfinite(ratio) or ratio > 100:
        wrapped = "log(1 + 2 D(s)/f''(1))" if shown.reduces_to_mse else "log(1 + D(s))"
        return (
            "Large errors dominate: w grows without bound, and the worst sample of a batch decides. Take it where all "
            f"errors are small and none may stay; `GaussianLoss.wrapped`, {wrapped}, does not overflow."
        )
    if abs(ratio - 1) < 0.05:
        return f"Large errors count like under MSE ({values}). Take it where MSE would do: every sample keeps pulling."
    if ratio < 1:
        return (
            f"Large errors are forgotten ({values}). Take it where some samples are hopeless or wrong; a model that "
            "starts far away is forgotten too."
        )
    return f"Larger errors count more ({values}). Take it where they matter more than under MSE."


def _worst_case(shown: fdiv.Divergence) -> str:
    top = shown.value_at_zero + shown.slope_at_infinity
    if top.is_finite:
        return f"It is bounded by {float(top):.6g}, so that one outlier costs at most that."
    infinite = [name for name, x in (("q", shown.slope_at_infinity), ("p", shown.value_at_zero)) if x.is_infinite]
    atoms = " or ".join(f"{x} = 0" for x in infinite)
    return f"It is unbounded: infinite where {atoms} on a set of positive probability of the other."


@cache
def _log_values(shown: fdiv.Divergence) -> np.ndarray:
    """log D(s) for s from 0.001 to 100."""
    with np.errstate(divide="ignore"):
        return np.log([shown.gaussian(x) for x in S[S <= 100].tolist()])


def neighbours(shown: fdiv.Divergence) -> list[str]:
    """The entries whose D(s) is within 5 % of a multiple of this one's for s from 0.001 to 100, but not equal."""
    same, found = fdiv.equivalents(shown), []
    for other in examples():
        spread = np.ptp(_log_values(other) - _log_values(shown)) / 2
        if other != shown and other.spec not in same and spread < np.log(1.05):
            found.append(label(other))
    return found


def _evidence_of_values(entries: list[fdiv.Divergence]) -> str:
    """How many D(s) are formulas and how many numbers, and on what evidence."""
    certificates = [fdiv.certify(shown) for shown in entries]
    kinds = Counter((c.gaussian, str(c.claim("D(s)").evidence)) for c in certificates)
    words = {"closed": "in closed form", "quadrature": "by quadrature"}
    parts = [f"{count} {words.get(kind, kind)} ({evidence})" for (kind, evidence), count in sorted(kinds.items())]
    sentences = (
        f"Of the {len(entries)} entries, D(s) is known {', '.join(parts)}. Proved means an exact argument; certified "
        "means that the error of the quadrature is bounded for all s >= 1e-12 (kernel.md), relative to D(s) and w(s)."
    )
    return textwrap.fill(sentences, 119) + "\n"


def section(shown: fdiv.Divergence) -> str:
    """One entry."""
    certificate, record = fdiv.certify(shown), shown.record
    counts: dict[str, list[str]] = {}
    for claim in certificate.claims:
        counts.setdefault(str(claim.evidence), []).append(claim.name)
    equal = {label(fdiv.divergence(spec)): factor for spec, factor in fdiv.equivalents(shown).items()}
    same = [name if factor == 1 else f"{name} times {factor}" for name, factor in equal.items()]
    evidence = "; ".join(f"{word}: {', '.join(names)}" for word, names in counts.items())
    lines = [f"## {label(shown)}", "", f"{shown.title}. {shown.reference}.", ""]
    if record.aliases:
        lines += [f"Also `{'`, `'.join(record.aliases)}`.", ""]
    for parameter in record.parameters:
        domain = " U ".join(map(domain_text, parameter.domain))
        lines += [f"{parameter.name} in {domain}: {parameter.reason}.", ""]
    for formula in formulas(shown):
        lines += ["$$", formula, "$$", ""]
    if not shown.activation.canonical:
        lines += [f"T(v) is {activation_kind(shown)}.", ""]
    lines += [f"**When to use it.** {advice(shown)}", ""]
    lines += [f"**Same D(s)**: {', '.join(same) or 'none other in the catalogue'}.", ""]
    lines += [f"**Nearly a multiple of it**: {', '.join(near)}.", ""] if (near := neighbours(shown)) else []
    lines += [f"**Evidence.** {evidence}.", ""]
    lines += [f"![f, and w(s) over its scale](divergences/{record.name}.png)", ""]
    return "\n".join(lines)


def table(entries: list[fdiv.Divergence]) -> str:
    """One row an entry."""
    rows = ["| divergence | convex | conjugate | D(s) | f(0+) | f'(inf) | f''(1) |", "|-|-|-|-|-|-|-|"]
    for shown in entries:
        certificate = fdiv.certify(shown)
        ends = (shown.value_at_zero, shown.slope_at_infinity, shown.curvature)
        cells = ["one-sided" if x is None else f"{float(x):.6g}" for x in ends]
        words = [str(certificate.claim(name).evidence) for name in ("convexity", "conjugate")]
        rows.append(
            f"| [{label(shown)}](#{_anchor(label(shown))}) | {' | '.join([*words, certificate.gaussian, *cells])} |"
        )
    return "\n".join(rows)


def _anchor(heading: str) -> str:
    return "".join(letter for letter in heading.lower() if letter.isalnum() or letter in "-_")


def document() -> str:
    """The whole document."""
    entries = examples()
    return "\n".join([_HEAD, _evidence_of_values(entries), table(entries), "", *(section(shown) for shown in entries)])


def draw(shown: fdiv.Divergence, path: Path) -> None:
    """f, and w(s)/w(0) or w(s)/w(1) where w(0) is 0 or infinite."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 2.3), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(RATIOS, generator_values(shown, RATIOS), color="C0")
    left.axhline(0, color="0.6", linewidth=0.6)
    left.set(title="f(u)", xlabel="u", ylim=(min(-0.6, float(np.nanmin(generator_values(shown, RATIOS)))), 3))
    with np.errstate(all="ignore"):
        weights = np.array([shown.gaussian.gradient_weight(x) for x in S.tolist()]) / weight_scale(shown)
    right.plot(S, np.where(weights < 1e30, weights, np.nan), color="C1")
    right.axhline(1, color="0.6", linewidth=0.6)
    right.set(title="w(s)/w(0)" if shown.reduces_to_mse else "w(s)/w(1)", xlabel="s", xscale="log", yscale="log")
    right.set(xlim=(S[0], S[-1]), ylim=(1e-3, 1e3), yticks=[1e-3, 1, 1e3])
    for axis in (left, right):
        axis.grid(alpha=0.25)
    figure.savefig(path, dpi=72, metadata={"Software": None})


def main() -> None:
    """Write the document, and the pictures that go with it."""
    PICTURES.mkdir(exist_ok=True)
    for shown in examples():
        draw(shown, PICTURES / f"{shown.name}.png")
    (HERE / "divergences.md").write_text(document())


if __name__ == "__main__":
    main()
