"""Mutants of the kernel itself: each changes what it confirms of a true statement, a false one or a forgery."""

from __future__ import annotations

import importlib
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fdiv.kernel import claims as kernel
from tests.fdiv.kernel.rules import FALSE_RULES, RULES
from tests.fdiv.kernel.statements import FALSE, TRUE
from tests.fdiv.kernel.traps import TRAPS

SOURCES = Path(kernel.__file__).parent
FALSE_ONES = {name: certificate for name, (_, certificate) in {**FALSE, **FALSE_RULES}.items()}
CASES: dict[str, Any] = {**TRUE, **RULES, **FALSE_ONES, **TRAPS}
Verify = Callable[[Any], dict[str, Any]]

# (file, what is replaced, by what, the case that shows it first)
MUTANTS: tuple[tuple[str, str, str, str], ...] = (
    ("polynomials", ">= degree:", ">= 10**9:", "a kink at the root of 2"),
    ("polynomials", "        if changes:", "        if changes > 9:", "a cubic"),
    ("polynomials", "changes > 1 and p(middle) != 0 and", "changes > 1 and", "a root at a point of bisection"),
    ("values", "bool(ball > 0 or ball < 0)", "True", "a division by a hidden zero"),
    ("polynomials", "arb(end).log() * power", "arb(end).log() / power", "concave just beyond a cut"),
    ("polynomials", "_raised(low, power)[0]", "_raised(low, power)[1]", "concave by a hair beyond a cut"),
    ("polynomials", "(a + b) / 2", "(a + b) * 2", "concave before a cut, and convex far beyond it"),
    ("polynomials", "(a + b) / 2", "(a - b) / 2", "concave before a cut, and convex below 0"),
    ("values", "(1 + NEAR)", "(1 - NEAR)", "a cut in the bracket of the zero before it"),
    ("field", '(kind != "log" or argument.rational is not None)', "True", "a hidden kink in log u"),
    ("field", 'kind != "erf" and (', "(", "a pole of erf"),
    ("field", 'if atom.kind in ("log", "root"):', 'if atom.kind in ("log",):', "perimeter, b = 3/2"),
    ("field", '(1 if atom.kind == "exp" else fmpq(1, self.order))', "1", "squared Hellinger"),
    ("field", "require(self.sign(x) != 0,", "require(True,", "a hole"),
    (
        "field",
        'require(self.sign(x) == 1, "a log',
        'require(self.sign(x) != 0, "a log',
        "a logarithm of what is negative",
    ),
    ("field", "x if x.zero and e > 0 else", "x if x.zero else", "infinite at its cut"),
    ("field", "(self.sign(base) if n % 2 else 1)", "1", "a root of a square"),
    ("field", "argument.num * self.sign(argument)", "argument.num", "a power of a distance"),
    ("field", " * self._sign(x.den, False, ladder)", "", "concave by its denominator"),
    ("field", "len(signs) == 1 and all(atom.positive for atom in atoms)", "len(signs) == 1", "a hidden kink in log u"),
    (
        "field",
        "self.exp(Ratio(self, poly)) - self.constant(1)",
        "self.exp(Ratio(self, poly))",
        "a hidden kink in log u",
    ),
    ("polynomials", "if strict or multiplicity % 2:", "if multiplicity % 2:", "a pole of even order"),
    ("polynomials", "sign = 1 if number > 0 else -1", "sign = 1", "concave everywhere"),
    ("field", "all(self.atoms[i].positive for i in powers)", "True", "a pole of log u"),
    ("field", 'require(len(signs) == 1, "terms of either sign")', "", "a pole of exp"),
    ("field", "(rising >= 0 and ends[0] * value >= 0)", "(rising >= 0)", "a pole of what rises"),
    ("field", "(rising <= 0 and ends[1] * value >= 0)", "(rising <= 0)", "a pole of what falls"),
    ("field", ">= 0 >= self.sign(self.theta(slope), False, ladder - 1) * value", ">= 0", "a crossing that is not cut"),
    ("field", " + ball(slope, box) * (box / middle).log()", "", "a dip beside the first box"),
    ("field", "((self.low, left), (right, self.high))", "()", "a dip beside the cover"),
    ("tails", "max(tops[0] + b[1], tops[1] + a[1])", "-math.inf", "a limit after cancellation"),
    ("tails", "len(coefficients) * top", "-math.inf", "a limit after cancellation"),
    ("tails", "if top <= bottom:", "if top < bottom:", "pearson"),
    ("tails", "x.field.sign(c) == x.field.sign(k)", "x.field.sign(c) != x.field.sign(k)", "kl"),
    ("tails", "fmpq((-1) ** (j + 1), j)", "fmpq((-1) ** j, j)", "Lin's K"),
    ("tails", "fmpq(self.side * e, field.order)", "fmpq(e, field.order)", "kl"),
    ("values", ' * target.sign(a) if atom.kind in ("log", "root") else a', "", "a logarithm that ends"),
    ("moments", "s * (p - half)", "s * (p + half)", "kl"),
    ("moments", "* s * (j - 1)", "* s * j", "a square of a logarithm"),
    ("moments", "- x.raised(j - 1) * density", "- density", "a square of a logarithm"),
    ("moments", "found.append(found[-1] * m)", "found.append(found[-1])", "a square of a logarithm"),
    ("moments", "field.order**e)", "field.order)", "a square of a logarithm"),
    ("moments", "int(piece.high is None)", "1", "half a square"),
    ("moments", "(p * (p - 1) / 2)", "(p * p / 2)", "kl"),
    ("expressions", "(y * field.exp(y) - z).zero", "True", "a wrong argument of W"),
    ("expressions", 'side in (0, 1 if kind == "W" else -1)', "True", "a wrong branch of W"),
    ("expressions", "if all(way * ", "if any(way * ", "a bump where two branches nearly tie"),
    ("expressions", "sign == 1 or (sign == 0 and", "sign >= 0 or (sign == 0 and", "an odd point"),
    ("expressions", '1 if kind == "max" else -1)', "1)", "a negative kink at a zero without a formula"),
    ("claims", "self.point.sign(upper - lower) == 1", "self.point.sign(upper + lower) == 1", "cuts that fall"),
    (
        "claims",
        "self.point.sign(upper - lower) == 1",
        "self.point.sign(upper - lower) >= 0",
        "a cut that is there twice",
    ),
    ("claims", "== last\n            low, high", "!= last\n            low, high", "a zero between two cuts"),
    ("claims", "(low, middle) if upper else (middle, high)", "(low, middle)", "a zero between two cuts"),
    ("claims", "(low, middle) if upper else (middle, high)", "(middle, high)", "a zero between two cuts"),
    ("field", "self.low.above < low\n", "True\n", "a cover before its piece"),
    ("field", 'high < self.high.below), "a cover', 'True), "a cover', "a cover beyond its piece"),
    ("claims", "any(case.jump(i) > 0 for", "any(case.jump(i) >= 0 for", "an affine function with a cut"),
    ("claims", "constant(0), *self.cuts", "constant(1), *self.cuts", "a kink below 1"),
    ("claims", "_same(lower, below) and _same(upper, above)", "_same(upper, above)", "a wrong lower end"),
    ("claims", "_same(lower, below) and _same(upper, above)", "_same(lower, below)", "a wrong upper end"),
    ("claims", "case.point.sign(found) > 0", "case.point.sign(found) >= 0", "a curvature of 0"),
    ("moments", "atom.argument.num == field.root.num and e", "e", "the moments of another logarithm"),
    ("claims", "require(joined,", "require(True,", "a jump"),
    ("claims", "require(case.jump(i) >= 0,", "require(True,", "a negative kink"),
    ("claims", "piece.field.sign(piece.curvature, strict=False) >= 0", "True", "u log^2 u"),
    ("claims", "piece.field.inside) > 0", "piece.field.inside) >= 0", "an affine function"),
    ("claims", '_same(case.end(*place), case.data["limits"][name])', "True", "a wrong limit"),
    ("claims", "(found - piece.surplus).zero", "True", "a wrong conjugate"),
    ("claims", 'require(right, "f* is', 'require(True, "f* is', "a wrong constant"),
    ("claims", "- t * place + value).zero", "- t * place + value).field", "a wrong line"),
    ("claims", "(case.line.u, case.line.u * -1, ", "(case.line.u, ", "a line on one side alone"),
    ("claims", "case.line.u * -1, case.line.constant(0))", "case.line.u * -1)", "an odd point of a line"),
    ("claims", '_same(end, case.data["conjugate"]["end"])', "True", "a wrong end of the domain"),
    ("claims", "(at_inverse * u - piece.f).zero", "True", "a wrong adjoint"),
    ("claims", "require((found - getattr(piece, kind)).zero,", "require(True,", "a wrong activation"),
    ("claims", "_equal(case.end(kind, i, 1), found)", "True", "an odd point of the activation"),
    ("claims", "not any(map(case.jump, range(len(case.cuts))))", "True", "an activation at a kink"),
    ("claims", '(_gaussian(case, "value") - total).zero', "True", "a wrong value"),
    ("claims", '(rate - _gaussian(case, "weight") * case.line.u).zero', "True", "a wrong weight"),
    ("claims", '_same(found, case.data["curvature"]) and', "", "a wrong curvature"),
    ("claims", "0 not in signs or case.jump(signs.index(0)) == 0", "True", "a curvature at a kink"),
    ("claims", "{signs.count(1), signs.count(1) + signs.count(0)}", "{len(signs)}", "a curvature on one side"),
    ("claims", "require(not missing,", "require(True,", "limits of what is not convex"),
    ("claims", '(("convexity", "D(s)"), _weight)', '(("convexity",), _weight)', "a wrong value"),
    ("claims", "field.theta(first) - first", "field.theta(first)", "kl"),
    ("claims", "zip(case.conjugate(), stated, strict=True)", "zip(case.conjugate(), stated)", "a piece of f* left out"),
    (
        "claims",
        'reversed(case.data["adjoint"]), strict=True)',
        'reversed(case.data["adjoint"]))',
        "a piece of the adjoint left out",
    ),
    ("claims", "type(order) is int and", "type(order) is int or", "an order of 0"),
    ("claims", "signs.count(1) + signs.count(0)}", "2 * signs.count(1)}", "a curvature on the left alone"),
    ("claims", "signs.count(1) + signs.count(0)}", "1}", "a curvature before the second cut"),
    ("claims", "{signs.count(1), ", "{0, ", "a curvature between two cuts"),
    ("claims", "signs.count(1) + signs.count(0)}", "-1}", "a curvature beyond the second cut"),
    (
        "claims",
        'self.end("slope", i + 1, -1), i\n',
        'self.end("slope", i + 1, 1), i\n',
        "a kink between parabolas, and a cut before",
    ),
    (
        "expressions",
        "field.constant(1), strict=False",
        "field.constant(2), strict=False",
        "the principal branch of W for the other",
    ),
    ("field", "(self.sign(base) if n % 2 else 1)", "self.sign(base)", "even roots of even powers"),
    ("field", '== "log" and c != 0', '== "log" or c != 0', "an exponential without roots"),
    ("field", 'a if kind == "exp" else', "a if False else", "a logarithm of an exponential"),
    ("field", 'if kind == "root":\n            return', "if False:\n            return", "a root with a cut"),
    ("field", "ball(slope, box) * (box", "ball(slope, box) + (box", "a narrow dip in the first box"),
    ("field", "(box / middle)", "(box * middle)", "nearly a tangent"),
    (
        "values",
        '* target.sign(a) if atom.kind in ("log", "root") else a',
        "* target.sign(a)",
        "an exponential before its pole",
    ),
    ("values", "+ arb(0)) / below", "+ arb(0)) * below", "concave beyond a fraction with a root"),
    ("values", "+ arb(0)) / below", "+ arb(0)) * below", "a kink that an exponential turns down"),
    ("values", "self.shift else 1)", "False else 1)", "what rises like u^2"),
    ("values", "a *= self.signs[i]", "", "a logarithm of what falls, before 1"),
    ("tails", "large.pop((fmpq(0), 0)", "large.pop((fmpq(1), 0)", "an exponential that ends nowhere"),
    ("tails", "key[0] < 0}", "key[0] > 0}", "an exponential of a fraction"),
    ("tails", "(p + q, n + m)", "(p + q, n - m)", "a logarithm in a series"),
    ("tails", "e.q == 1 and e.p % 2", "e.q == 1 or e.p % 2", "a root that ends"),
    ("tails", "e.q == 1 and e.p % 2 else 1", "False else 1", "an exponential before its pole"),
    ("rule", "2 / (2 * arb.pi()", "1 / (2 * arb.pi()", "steps that are too long for small s"),
    ("rule", "2 / (2 * arb.pi()", "1 / (2 * arb.pi()", "steps that are too long for large s"),
    (
        "rule",
        "* angle / arb(self.step)).expm1()",
        "* angle * 2 / arb(self.step)).expm1()",
        "steps that are too long for w",
    ),
    ("rule", "2 * (self.switch / 8).exp()", "(self.switch / 8).exp()", "steps that are too long for w"),
    ("rule", "(slope + self.switch / 8 * value)", "slope", "steps that are too long for w"),
    ("rule", "(self.switch / 8).exp()", "arb(1)", "steps that are too long for w"),
    ("rule", "aliased + (before + after) / small", "aliased + after / small", "too small an s for the first point"),
    ("rule", "aliased + (before + after) / small", "aliased + before / small", "a last point too near for small s"),
    ("rule", "arb(m) / 2", "arb(m) / 4", "too small an s for the first point, for w"),
    ("rule", "start * self.high.before(k + 1) + beyond", "beyond", "a first point too far for large s"),
    ("rule", " + beyond * (-rate * end)", " + 0 * (-rate * end)", "a last point too near for large s"),
    ("rule", "ratio.expm1()", "ratio.exp()", "a first point too far for large s"),
    ("rule", ".exp() / (m + 1)", ".exp()", "too small an s for the first point"),
    ("rule", "(-arb(1) / 2).exp()", "arb(1)", "too small an s for the first point"),
    ("rule", 'require(m > 0, "f(1)', 'require(True, "f(1)', "f(1) = 1"),
    ("rule", "require_analytic(whole, self.angle)", "", "a singularity in the sector"),
    (
        "rule",
        'require((mean - build(data["closed"], line, {"s": line.u})).zero,',
        "require(True,",
        "a mean of another growth",
    ),
    ("rule", "bool(arb(_NEAR) ** 2 < self.switch)", "True", "a switch below what is near"),
    ("rule", "0 < self.least < _NEAR**2", "True", "no s that is small"),
    ("sector", "isinstance(limit(part, -1), Ratio)", "True", "another growth with its mean"),
    ("sector", "isinstance(limit(part, -1), Ratio)", "True", "a faster decay than there is"),
    ("sector", "turn > -abs(y).log() * angle.tan()", "turn > 0", "a singularity in the sector"),
    ("sector", "* (high - low) / 2)", "* 0)", "steps that are too long for small s"),
    ("sector", " * -1)", ")", "a third power of a distance"),
    ("rule", "-arb(self.even.exponent)", "arb(1) / 2", "a last point too near for what rises like u^2"),
    ("sector", "self.field.theta(self.derivatives[-1]) * -1", "self.derivatives[-1]", "steps that are too long for w"),
    ("moments", "found[-1] = found[-1] - x", "found[1] = found[-1] - x", "a square of a logarithm beyond 2"),
)


def shown(verify: Verify, name: str) -> set[str]:
    return {claim for claim, verdict in verify(CASES[name]).items() if verdict.confirmed}


@pytest.fixture(scope="module")
def right() -> dict[str, set[str]]:
    return {name: shown(kernel.verify, name) for name in CASES}


@pytest.fixture
def mutated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str, str], Verify]]:
    package = f"kernel_{abs(hash(tmp_path))}"

    def make(file: str, old: str, new: str) -> Verify:
        shutil.copytree(SOURCES, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
        for path in (tmp_path / package).rglob("*.py"):
            source = path.read_text()
            if path.stem == file:
                assert source.count(old) == 1, f"{old!r} is {source.count(old)} times in {file}.py"
                source = source.replace(old, new)
            path.write_text(source.replace("fdiv.kernel", package))
        monkeypatch.syspath_prepend(str(tmp_path))
        return importlib.import_module(f"{package}.claims").verify

    yield make
    for name in [name for name in sys.modules if name.startswith(package)]:
        del sys.modules[name]


def test_no_trap_is_confirmed_whole(right: dict[str, set[str]]) -> None:
    assert [name for name, certificate in TRAPS.items() if right[name] >= set(certificate["claims"])] == []


@pytest.mark.parametrize(("file", "old", "new", "case"), MUTANTS)
def test_a_mutant_is_seen(
    file: str, old: str, new: str, case: str, right: dict[str, set[str]], mutated: Callable[[str, str, str], Verify]
) -> None:
    assert shown(mutated(file, old, new), case) != right[case]
