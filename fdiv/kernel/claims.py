"""The kernel's door: `verify` judges the claims of a certificate, given as JSON.

It derives each claim anew from the generator, in its own expression language. It searches for nothing and believes
nothing: what the rules in `docs/kernel.md` do not show is not confirmed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import ROUND_CEILING, Context, Decimal
from functools import cache, cached_property
from itertools import pairwise
from typing import Any

from flint import arb, ctx

from fdiv.kernel.expressions import build, measure, number
from fdiv.kernel.field import End, Field
from fdiv.kernel.gaussian.moments import expectation
from fdiv.kernel.gaussian.rule import Rule
from fdiv.kernel.ledger import LARGEST_ORDER, MOST_WORK, Ledger, Unproved, require
from fdiv.kernel.polynomials import bounds
from fdiv.kernel.ratio import Ratio
from fdiv.kernel.tails import limit
from fdiv.kernel.values import NEAR, ball, ball_sign, substituted

_PRECISION = 256
_MOST_ERROR = 1e-9  # of a quadrature, relative to what it stands for


@dataclass(frozen=True)
class Verdict:
    """Whether the kernel confirms a claim, and why, or why not.

    `enclosed`: it is, or rests on, a bound of the error of numbers, and no identity.
    """

    confirmed: bool
    reason: str
    enclosed: bool = False


class _Piece:
    """A piece with the generator f on it, its slope, u f' - f and u^2 f''."""

    def __init__(self, field: Field, generator: Any) -> None:
        self.field, self.f = field, build(generator, field, {"u": field.u})
        first = field.theta(self.f)
        self.slope, self.surplus, self.curvature = first.over(field.u), first - self.f, field.theta(first) - first


class _Case:
    """A certificate's generator on its pieces, each with a field of its own."""

    def __init__(self, data: Any) -> None:
        order = data["order"]
        require(type(order) is int and 1 <= order <= LARGEST_ORDER, f"the order of roots is 1 to {LARGEST_ORDER}")
        self.data, self.ledger = data, Ledger(order)
        self.point = Field(self.ledger)
        self.line = Field(self.ledger, self.point)
        ends = [self._end(cut) for cut in data["cuts"]]
        self.cuts = [end.value for end in ends]
        for lower, upper in pairwise([self.point.constant(0), *self.cuts]):
            require(self.point.sign(upper - lower) == 1, "cuts that do not increase")
        fields = [Field(self.ledger, self.point, *sides) for sides in pairwise([None, *ends, None])]
        for i, cover in data.get("covers", {}).items():
            fields[int(i)].set_cover(*map(number, cover))
        self.pieces = [_Piece(field, data["generator"]) for field in fields]
        self.values = [self.built(cut) for cut in self.cuts]

    def built(self, place: Ratio) -> Ratio:
        """The generator at a point."""
        return build(self.data["generator"], self.point, {"u": place})

    def _end(self, cut: Any) -> End:
        value = self._zero(cut) if type(cut) is dict else build(cut, self.point, {})
        exact = value.rational
        return End(value, *(bounds(ball(value)) if exact is None else (exact, exact)))

    def _zero(self, cut: dict[str, Any]) -> Ratio:
        """A zero of a function that changes its sign between two rationals: an atom by a bracket, and its equation."""
        low, high = number(cut["low"]), number(cut["high"])
        require(0 < low < high, "a bracket lies beyond 0")
        field = Field(self.ledger, self.point, *(End(self.point.constant(x), x, x) for x in (low, high)))
        x = build(cut["zero"], field, {"u": field.u})
        first, last = (ball_sign(ball(x, arb(end))) for end in (low, high))
        require(first != last, "a bracket is not shown to hold a zero")
        while high > low * (1 + NEAR):
            middle = (low + high) / 2
            upper = ball_sign(ball(x, arb(middle))) == last
            low, high = (low, middle) if upper else (middle, high)
        found = self.point.atom("zero", self.point.constant(low))
        self.point.relations.append(substituted(x, self.point, found).num)
        return found

    @cache  # noqa: B019  (a case lives as long as one call of `verify`)
    def end(self, kind: str, i: int, side: int) -> Any:
        """The limit of f, its slope or u f' - f at an end of piece i: a constant, "inf" or "-inf"."""
        return self.pieces[i].field.end(getattr(self.pieces[i], kind), side)

    @cached_property
    def rule(self) -> Rule | None:
        """The quadrature that is stated in the place of formulas of D(s) and w(s)."""
        data = self.data["gaussian"]
        return Rule(self.data["generator"], data["rule"], self.line) if "rule" in data else None

    def jump(self, i: int) -> int:
        """The sign of the jump of f' at cut i."""
        return self.point.sign(self.end("slope", i + 1, -1) - self.end("slope", i, 1))

    def conjugate(self) -> Iterator[tuple[str, Any, Any, int]]:
        """What f* consists of from left to right: (kind, lower, upper, number of the piece or cut)."""
        start = self.end("slope", 0, -1)
        if start != "-inf":
            yield "constant", "-inf", start, 0
        for i, piece in enumerate(self.pieces):
            if not piece.curvature.zero:
                yield "curve", self.end("slope", i, -1), self.end("slope", i, 1), i
            if i < len(self.cuts) and self.jump(i):
                yield "line", self.end("slope", i, 1), self.end("slope", i + 1, -1), i


def _equal(found: Any, value: Ratio) -> bool:
    """Whether a limit is the constant."""
    return isinstance(found, Ratio) and (found - value).zero


def _same(found: Any, stated: Any) -> bool:
    """Whether a limit is the constant, or the infinity, that is stated."""
    if isinstance(found, str) or stated in ("inf", "-inf"):
        return isinstance(found, str) and found == stated
    return _equal(found, build(stated, found.field, {}))


def _vanishes(case: _Case) -> str:
    require(case.built(case.point.constant(1)).zero, "f(1) is not shown to be 0")
    return "by substitution"


def _finite(case: _Case) -> str:
    return f"defined on {len(case.pieces)} pieces and at {len(case.values)} cuts"  # or it would not have been built


def _convex(case: _Case) -> str:
    for i, value in enumerate(case.values):
        joined = _equal(case.end("f", i, 1), value) and _equal(case.end("f", i + 1, -1), value)
        require(joined, "f is not shown to be continuous at a cut")
        require(case.jump(i) >= 0, "the slope jumps down at a cut")
    for piece in case.pieces:
        require(piece.field.sign(piece.curvature, strict=False) >= 0, "f'' is negative")
    return "f'' >= 0 on each piece, f is continuous, and no slope jumps down"


def _not_affine(case: _Case) -> str:
    curved = any(ball(piece.curvature, piece.field.inside) > 0 for piece in case.pieces)
    require(curved or any(case.jump(i) > 0 for i in range(len(case.cuts))), "f'' is not told from zero")
    return "f'' is not zero at a point, or f' jumps"


def _limits(case: _Case) -> str:
    ends = {"value_at_zero": ("f", 0, -1), "slope_at_zero": ("slope", 0, -1), "slope_at_infinity": ("slope", -1, 1)}
    for name, place in ends.items():
        require(_same(case.end(*place), case.data["limits"][name]), f"{name} is not shown to be as stated")
    return "by leading terms"


def _matched(case: _Case) -> Iterator[tuple[str, int, Any]]:
    """The stated pieces of f*, with what each must be; their ends must be right."""
    stated = case.data["conjugate"]["pieces"]
    for (kind, lower, upper, i), (below, above, form) in zip(case.conjugate(), stated, strict=True):
        require(_same(lower, below) and _same(upper, above), "a piece of f* is not shown to have these ends")
        yield kind, i, form


def _conjugate(case: _Case) -> str:
    for kind, i, form in _matched(case):
        if kind == "curve" and form is not None:
            piece = case.pieces[i]
            found = build(form, piece.field, {"u": piece.field.u, "t": piece.slope})
            require((found - piece.surplus).zero, "f*(f'(u)) is not shown to be u f'(u) - f(u)")
    return "f*(f'(u)) = u f'(u) - f(u) on each curved piece"


def _whole_line(case: _Case) -> str:
    for kind, i, form in _matched(case):
        if kind == "constant":
            right = _equal(case.end("f", 0, -1), build(form, case.pieces[0].field, {}) * -1)
            require(right, "f* is not shown to be -f(0) below f'(0)")
        if kind == "line":
            one = case.line.constant(1)
            place, value = (substituted(x, case.line, one) for x in (case.cuts[i], case.values[i]))
            for t in (case.line.u, case.line.u * -1, case.line.constant(0)):  # both half-lines, and 0 between them
                require((build(form, case.line, {"t": t}) - t * place + value).zero, "not k t - f(k) at a kink k")
    top, last = case.end("slope", -1, 1), case.pieces[-1]
    end = "inf" if isinstance(top, str) else limit(top * last.field.u - last.f, 1)
    require(_same(end, case.data["conjugate"]["end"]), "f* at the end of its domain is not shown to be as stated")
    return "-f(0) below f'(0+), k t - f(k) at a kink k, and the end of the domain"


def _adjoint(case: _Case) -> str:
    for piece, form in zip(case.pieces, reversed(case.data["adjoint"]), strict=True):
        u = piece.field.u
        at_inverse = build(form, piece.field, {"u": piece.field.inverse(u)})
        require((at_inverse * u - piece.f).zero, "it is not shown to be u f(1/u)")
    return "u f(1/u) by substitution, which exchanges f(0+) and f'(inf)"


def _activation(case: _Case) -> str:
    require(not any(map(case.jump, range(len(case.cuts)))), "f' jumps, and T is no f'(e^v) there")
    for name, kind in (("output", "slope"), ("term", "surplus")):
        form = case.data["activation"][name]
        for piece in case.pieces:
            found = build(form, piece.field, {"v": piece.field.log(piece.field.u)})
            require((found - getattr(piece, kind)).zero, f"the {name} is not shown to be that of f'(e^v)")
        for i, cut in enumerate(case.cuts):
            found = build(form, case.point, {"v": case.point.log(cut)})
            require(_equal(case.end(kind, i, 1), found), f"the {name} jumps at a cut")
    return "T(log u) = f'(u) and f*(T(log u)) = u f'(u) - f(u); T rises with f'"


def _gaussian(case: _Case, name: str) -> Ratio:
    return build(case.data["gaussian"][name], case.line, {"s": case.line.u})


def _value(case: _Case) -> str:
    if case.rule is not None:
        return _within(case.rule, "D(s)", case.rule.errors.value)
    total = case.line.constant(0)
    for piece in case.pieces:
        total = total + expectation(piece.f, case.line)
    require((_gaussian(case, "value") - total).zero, "the formula is not shown to be the sum of the moments")
    return "the sum of the moments E_Q[u^p (log u)^n] on the pieces"


def _within(rule: Rule, name: str, error: Any) -> str:
    """Say how near to D or w the trapezoid rule is, relatively, rounded up to two digits."""
    require(bool(error < _MOST_ERROR), "the error of the trapezoid rule is not shown to be small")
    shown, least = (_up(number) for number in (bounds(error)[1], rule.least))
    return f"the trapezoid rule is within {shown} {name} of {name} for all s >= {least}"


def _up(number: Any) -> str:
    """Two digits of a rational number, or of one above it."""
    return f"{Context(prec=2, rounding=ROUND_CEILING).divide(Decimal(int(number.p)), Decimal(int(number.q))):.1e}"


def _weight(case: _Case) -> str:
    if case.rule is not None:
        return _within(case.rule, "w(s)", case.rule.errors.weight)
    rate = case.line.theta(_gaussian(case, "value"))
    require((rate - _gaussian(case, "weight") * case.line.u).zero, "w is not shown to be dD/ds")
    return "dD/ds by the kernel's own differentiation; f'' >= 0"


def _reduction(case: _Case) -> str:
    one = case.point.constant(1)
    signs = [case.point.sign(one - cut) for cut in case.cuts]
    for i in {signs.count(1), signs.count(1) + signs.count(0)}:  # the pieces that have 1 inside or at an end
        found = substituted(case.pieces[i].curvature, case.point, one)
        right = _same(found, case.data["curvature"]) and case.point.sign(found) > 0
        require(right, "f''(1) is not as stated, or not > 0")
    require(0 not in signs or case.jump(signs.index(0)) == 0, "f has a kink at 1")
    for i, side in ((0, -1), (-1, 1)):  # an expansion exists, so that f'' is bounded by a power of u
        limit(case.pieces[i].curvature, side)
    return "f'' is continuous at 1 and bounded by powers of u: dominated convergence"


def _follows(case: _Case) -> str:
    return "it follows from what it rests on"


_CLAIMS: dict[str, tuple[tuple[str, ...], Callable[[_Case], str]]] = {
    "f(1) = 0": ((), _vanishes),
    "finite on (0, inf)": ((), _finite),
    "convexity": (("finite on (0, inf)",), _convex),
    "not affine": (("convexity",), _not_affine),
    "limits": (("convexity",), _limits),
    "conjugate": (("convexity", "limits"), _conjugate),
    "conjugate on the whole line": (("conjugate", "limits"), _whole_line),
    "biconjugation": (("convexity", "conjugate on the whole line"), _follows),
    "Fenchel-Young": (("convexity", "conjugate on the whole line"), _follows),
    "adjoint": (("convexity", "limits"), _adjoint),
    "activation": (("conjugate", "limits"), _activation),
    "D(s)": (("convexity",), _value),
    "D(0) = 0 <= D(s)": (("f(1) = 0", "convexity", "D(s)"), _follows),
    "w(s) = dD/ds >= 0": (("convexity", "D(s)"), _weight),
    "gradient law": (("w(s) = dD/ds >= 0",), _follows),
    "reduction to MSE": (("convexity", "limits"), _reduction),
    "large s": (("limits", "convexity", "D(s)"), _follows),
}
CLAIMS = tuple(_CLAIMS)


def verify(certificate: Any) -> dict[str, Verdict]:
    """Judge the claims of a certificate; never raises, whatever the data.

    Args:
        certificate: what `json.loads` gives; see `docs/kernel.md`.

    Returns:
        Every claim of `CLAIMS` that the certificate makes, confirmed or not, and the reason.
    """
    found: dict[str, Verdict] = {}
    claimed = CLAIMS
    with ctx.workprec(_PRECISION):
        try:
            measure(certificate)
            claimed = tuple(name for name in CLAIMS if name in list(certificate["claims"]))
            case = _Case(certificate)
        except Exception as error:  # of whatever kind: what is malformed is not confirmed
            return {name: _refused(error) for name in claimed}
        for name in claimed:
            premises, judge = _CLAIMS[name]
            case.ledger.left = MOST_WORK
            try:
                missing = [premise for premise in premises if premise not in found or not found[premise].confirmed]
                require(not missing, f"it rests on {', '.join(missing)}")
                reason = judge(case)
                enclosed = name == "D(s)" and case.rule is not None
                found[name] = Verdict(True, reason, enclosed or any(found[premise].enclosed for premise in premises))
            except Exception as error:
                found[name] = _refused(error)
    return found


def _refused(error: Exception) -> Verdict:
    if isinstance(error, Unproved):
        return Verdict(False, str(error))
    return Verdict(False, f"malformed: {type(error).__name__}: {str(error)[:80]}")
