"""Write docs/divergences.md and its pictures from the catalogue: ``python docs/divergences.py``.

Nothing about a divergence is written by hand here: formulas, evidence, equivalents and advice are computed.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import sympy
from sympy.codegen.cfunctions import expm1

sys.path.insert(0, str(Path(__file__).parent.parent))

import fdiv
from fdiv.calculus import DerivationError
from fdiv.describe import domain_text, label, readable
from fdiv.domain import Interval
from fdiv.lowering import softplus

HERE = Path(__file__).parent
PICTURES = HERE / "divergences"
S = np.geomspace(1e-3, 1e3, 121)
RATIOS = np.linspace(0.02, 4, 200)
_HEAD = """# The divergences

Written by `python docs/divergences.py` from the catalogue; every line is computed from the generators. f is the
generator, D(s) the divergence of two normal distributions with one covariance, s = |mu_P - mu_Q|^2 / sigma^2,
w(s) = dD/ds the weight with which the loss answers an error of size s. Families are shown at an example of their
parameters. **proved**, **certified** and **tested** are explained by `python -m fdiv check NAME`.
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
    gaussian, curvature = shown.gaussian, shown.curvature
    top = shown.value_at_zero + shown.slope_at_infinity
    if not gaussian.evaluable:
        return f"Not between Gaussians: {gaussian.reason}."
    words = []
    if curvature is not None and curvature.is_finite and curvature > 0:
        words.append(f"For small errors it is {float(curvature) / 2:.6g} times the squared error s.")
    elif curvature is None:
        words.append("Its two one-sided curvatures at u = 1 differ.")
    else:
        kind = "infinite" if curvature == sympy.oo else "zero"
        words.append(f"It has no MSE limit: its curvature at u = 1 is {kind}, and so is w(0).")
    # s w'(s)/w(s), at large s, is how w grows or decays
    low, mid, far = (gaussian.gradient_weight(x) for x in (1.0, 25.0, 100.0))
    ratio = far / mid if mid else 0.0
    if not np.isfinite(ratio) or ratio > 100:
        words.append("Large errors dominate: w grows without bound (use the monotone wrapper against overflow).")
    elif abs(ratio - 1) < 0.05:
        words.append(
            f"Large errors count like under MSE: w tends to a constant (w(1) = {low:.4g}, w(100) = {far:.4g})."
        )
    elif ratio < 1:
        words.append(f"Large errors are forgotten: w(1) = {low:.4g}, w(25) = {mid:.3g}, w(100) = {far:.3g}.")
    else:
        words.append(f"Larger errors count more: w(1) = {low:.4g}, w(100) = {far:.4g}.")
    if top.is_finite:
        words.append(f"It is bounded by {float(top):.6g}, so that one outlier costs at most that.")
    else:
        infinite = [name for name, x in (("q", shown.slope_at_infinity), ("p", shown.value_at_zero)) if x.is_infinite]
        atoms = " or ".join(f"{x} = 0" for x in infinite)
        words.append(f"It is unbounded: infinite where {atoms} on a set of positive probability of the other.")
    return " ".join(words)


def section(shown: fdiv.Divergence) -> str:
    """One entry."""
    certificate, record = fdiv.certify(shown), shown.record
    counts: dict[str, list[str]] = {}
    for claim in certificate.claims:
        counts.setdefault(str(claim.evidence), []).append(claim.name)
    same = [spec if factor == 1 else f"{spec} times {factor}" for spec, factor in fdiv.equivalents(shown).items()]
    evidence = "; ".join(f"{word}: {', '.join(names)}" for word, names in counts.items())
    lines = [f"## {label(shown)}", "", f"{shown.title}. {shown.reference}.", ""]
    if record.aliases:
        lines += [f"Also `{'`, `'.join(record.aliases)}`.", ""]
    for parameter in record.parameters:
        domain = " U ".join(map(domain_text, parameter.domain))
        lines += [f"{parameter.name} in {domain}: {parameter.reason}.", ""]
    for formula in formulas(shown):
        lines += ["$$", formula, "$$", ""]
    lines += [f"**When to use it.** {advice(shown)}", ""]
    lines += [f"**Same D(s)**: {', '.join(same) or 'none other in the catalogue'}.", ""]
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
    return "\n".join([_HEAD, table(entries), "", *(section(shown) for shown in entries)])


def draw(shown: fdiv.Divergence, path: Path) -> None:
    """f, and w(s)/w(0) or w(s)/w(1) where w(0) is 0 or infinite."""
    from matplotlib.figure import Figure

    from fdiv.plots import generator_values, has_scale, weight_scale

    figure = Figure(figsize=(6.4, 2.3), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(RATIOS, generator_values(shown, RATIOS), color="C0")
    left.axhline(0, color="0.6", linewidth=0.6)
    left.set(title="f(u)", xlabel="u", ylim=(min(-0.6, float(np.nanmin(generator_values(shown, RATIOS)))), 3))
    with np.errstate(all="ignore"):
        weights = np.array([shown.gaussian.gradient_weight(x) for x in S.tolist()]) / weight_scale(shown)
    right.plot(S, np.where(weights < 1e30, weights, np.nan), color="C1")
    right.axhline(1, color="0.6", linewidth=0.6)
    right.set(
        title="w(s)/w(0)" if has_scale(shown) else "w(s)/w(1)", xlabel="s", xscale="log", yscale="log", ylim=(1e-3, 1e3)
    )
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
