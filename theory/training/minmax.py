r"""The min-max game near its optimum: a damped rotation whose clock is f''(1).

Setting. P = N(0, 1), Q = N(theta, 1), the critic v(x) = psi x with the canonical activation; the value
V(theta, psi) = E_P[T(v)] - E_Q[f*(T(v))], theta descends, psi ascends at kappa times the rate.

Proof. T(v) = f'(1) + f'' v + (f'' + f''') v^2/2 + ..., f*(T(v)) = f'(1) + f'' v + (2 f'' + f''') v^2/2 + ... at u = 1,
E_P[x] = 0, E_Q[x] = theta, so V = -f''(1) (theta psi + psi^2/2) + O(3): f''' cancels. The vector field
(theta', psi') = (-dV/dtheta, kappa dV/dpsi) has at 0 the Jacobian

    J = f''(1) [[0, 1], [-kappa, -kappa]],        eigenvalues f''(1) (-kappa +- sqrt(kappa^2 - 4 kappa))/2,

both with a negative real part: locally exponentially stable, for every f with 0 < f''(1) < inf, at the rate
kappa f''(1)/2 with oscillation for kappa < 4, fastest at kappa = 4 with 2 f''(1), and then falling to f''(1), the
rate of gradient descent on D, which is a perfect critic's. With simultaneous steps of size eta (kappa = 1) the
spectral radius squared is 1 - eta f'' + eta^2 f''^2: stable exactly for eta < 1/f''(1). So f''(1) is a clock, and two
divergences of one f''(1) cannot be told apart here. A bias in the critic only adds the eigenvalue -kappa f''(1).

If instead the critic's output is T itself, T(x) = f'(1) + psi x, the curvature enters through (f*)'' = 1/f'':
V = -theta psi - psi^2/(2 f''(1)) + O(3), with eigenvalues the roots of L^2 + L/f'' + 1 = 0: a large f'' then takes
away the damping (rate 1/(2 f'')) instead of speeding up the clock. The canonical activation is what makes the game
uniform.

V is finite near 0 if D(s) is for small s: u f'(u) <= f(2u) - f(u), f'(u) >= 2 (f(u) - f(u/2))/u, and a lognormal law
is bounded by a multiple of any wider one. The hypothesis does work: e^{u-1} - u is smooth with f''(1) = 1, but
E_Q[u f' - f] is infinite for every psi other than 0. (No quadrature notices: its farthest node has a finite value.)

Without 0 < f''(1) < inf nothing of this holds: total variation has no Jacobian, a generator flat at 1 has J = 0.
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import sympy
from scipy.integrate import solve_ivp
from sympy import Expr

from fdiv import Divergence
from theory.gaussians.local_universality import curved
from theory.laws.expectations import Numbers, in_doubles
from theory.theorem import Comparison, Theorem

_X, _SHARE = np.polynomial.hermite_e.hermegauss(48)
_SHARE = _SHARE / _SHARE.sum()


def _value(divergence: Divergence, theta: float, psi: float) -> float:
    """V by Gauss and Hermite: exact enough, since |psi x| stays small where the weights matter."""
    from fdiv.exact.symbols import u

    f, df = in_doubles(divergence.generator), in_doubles(sympy.diff(divergence.generator, u))

    def term(ratio: Numbers) -> Numbers:
        return ratio * df(ratio) - f(ratio)

    return float(_SHARE @ (df(np.exp(psi * _X)) - term(np.exp(psi * (theta + _X)))))


def _direct_value(divergence: Divergence, theta: float, psi: float) -> float:
    """V where the critic's output is T(x) = f'(1) + psi x, with fdiv's conjugate."""
    x, share = np.polynomial.hermite_e.hermegauss(12)
    start = float(divergence.slope_at_one)
    values = [divergence.conjugate(start + psi * (theta + one)) for one in x]
    return start - float(share @ np.array(values) / share.sum())


def jacobian(
    divergence: Divergence, kappa: float, value: Callable[[Divergence, float, float], float] = _value
) -> Numbers:
    """The Jacobian of the vector field at 0, by central differences of V."""
    h = 3e-4

    # the field is (-V_theta, kappa V_psi), so its Jacobian is made of the second derivatives of V
    def second(i: int, j: int) -> float:
        total = 0.0
        for a in (-1, 1):
            for b in (-1, 1):
                place = [0.0, 0.0]
                place[i] += a * h
                place[j] += b * h
                total += a * b * value(divergence, *place)
        return total / (4 * h**2)

    mixed = second(0, 1)
    return np.array([[-second(0, 0), -mixed], [kappa * mixed, kappa * second(1, 1)]])


def field(divergence: Divergence, theta: float, psi: float) -> tuple[float, float]:
    """(-dV/dtheta, dV/dpsi), from T' = u f'' and (f* o T)' = u^2 f''."""
    (piece,) = divergence.pieces
    second = in_doubles(piece.second)
    real, fake = np.exp(psi * _X), np.exp(psi * (theta + _X))
    slope = fake**2 * second(fake)
    # only the second term of V holds theta; psi is in both, through v = psi x and v = psi (theta + x)
    descent = float(_SHARE @ slope) * psi
    ascent = float(_SHARE @ (real * second(real) * _X - slope * (theta + _X)))
    return descent, ascent


@cache
def trajectory(divergence: Divergence, end: float, start: float = 0.2) -> tuple[Numbers, Numbers]:
    """Times and (theta, psi), (2, n), of the flow from (start, 0), in units of 1/f''(1)."""
    clock = float(divergence.curvature)  # type: ignore[arg-type]

    def velocity(t: float, state: Numbers) -> list[float]:
        return [part / clock for part in field(divergence, *state)]

    times = np.linspace(0, end, 20 * int(end) + 1)
    path = solve_ivp(velocity, (0, end), [start, 0.0], t_eval=times, rtol=1e-9, atol=1e-14)
    return times, path.y


def _rate(divergence: Divergence) -> float:
    """The decay of the natural norm, over two turns late in the trajectory.

    For kappa = 1 the linear flow has d/dt (theta^2 + theta psi + psi^2) = -f''(1) times itself, without oscillation.
    """
    times, (theta, psi) = trajectory(divergence, 24.0)
    norm = theta**2 + theta * psi + psi**2
    late = np.searchsorted(times, 8.0)
    return float(-(np.log(norm[-1]) - np.log(norm[late])) / (2 * (times[-1] - times[late])))


def _contraction(divergence: Divergence, share: float) -> float:
    """The mean contraction of a step of size share/f''(1) over 60 steps from (1e-4, 0), in the natural norm."""
    # a linear step multiplies theta^2 + theta psi + psi^2 by 1 - share + share^2, the spectral radius squared
    eta = share / float(divergence.curvature)  # type: ignore[arg-type]
    theta, psi = 1e-4, 0.0
    start = theta**2 + theta * psi + psi**2
    for _ in range(60):
        descent, ascent = field(divergence, theta, psi)
        theta, psi = theta + eta * descent, psi + eta * ascent
    return float(((theta**2 + theta * psi + psi**2) / start) ** (1 / 120))


def _comparisons(divergence: Divergence) -> Iterator[Comparison]:
    curvature = float(divergence.curvature)  # type: ignore[arg-type]
    for kappa in (1.0, 3.0, 8.0):
        eigenvalues = sorted(
            np.linalg.eigvals(jacobian(divergence, kappa)).astype(complex), key=lambda z: (z.real, z.imag)
        )
        root = cmath.sqrt(kappa**2 - 4 * kappa)
        stated = sorted((curvature * (-kappa + sign * root) / 2 for sign in (-1, 1)), key=lambda z: (z.real, z.imag))
        for found, wanted in zip(eigenvalues, stated, strict=True):
            yield Comparison(f"Re, kappa={kappa:g}", found.real, wanted.real, "equal", 1e-4)
            yield Comparison(f"|eigenvalue|, kappa={kappa:g}", abs(found), abs(wanted), "equal", 1e-4)
            yield Comparison(f"stable, kappa={kappa:g}", found.real, 0.0, "at_most", 0.0)
    direct = jacobian(divergence, 1.0, _direct_value)
    yield Comparison("T = f'(1) + psi x: trace", float(np.trace(direct)), -1 / curvature, "equal", 1e-3)
    yield Comparison("T = f'(1) + psi x: determinant", float(np.linalg.det(direct)), 1.0, "equal", 1e-3)
    yield Comparison("decay of the trajectory, units of f''(1)", _rate(divergence), 0.5, "equal", 5e-3)
    for share in (0.5, 0.9, 1.1):
        stated_radius = math.sqrt(1 - share + share**2)
        yield Comparison(f"step {share:g}/f''(1)", _contraction(divergence, share), stated_radius, "equal", 1e-3)


@cache
def _taylor() -> tuple[Expr, ...]:
    """V + f'' (theta psi + psi^2/2) up to second order, for a symbolic jet of f at 1."""
    a, b, theta, psi, x, e = sympy.symbols("a b theta psi x e", real=True)
    # the jet f = a (u - 1)^2/2 + b (u - 1)^3/6; e counts the order in psi, and T = f', f* o T = u f' - f
    u = sympy.exp(e * psi * x)
    slope = a * (u - 1) + b * (u - 1) ** 2 / 2
    term = u * slope - (a * (u - 1) ** 2 / 2 + b * (u - 1) ** 3 / 6)

    def mean(expression: Expr, center: Expr) -> Expr:
        # E[x] = center and E[x^2] = 1 + center^2; the third order in e is the O(3) of the statement
        expanded = sympy.expand(sympy.series(expression, e, 0, 3).removeO().subs(e, 1))
        return expanded.coeff(x, 0) + expanded.coeff(x, 1) * center + expanded.coeff(x, 2) * (1 + center**2)

    canonical = sympy.expand(mean(slope, sympy.S.Zero) - mean(term, theta))
    # theta^2 psi^2 is of fourth order in (theta, psi)
    canonical = canonical - canonical.coeff(theta, 2) * theta**2
    return (sympy.expand(canonical + a * (theta * psi + psi**2 / 2)),)


def _draw(path: Path) -> None:
    """Trajectories in the plane, and their decay; what coincides is dashed over the other and said in the legend."""
    import fdiv
    from theory.pictures import figure

    names = ("kl", "reverse_kl", "pearson", "squared_hellinger", "jensen_shannon", "triangular")
    dashed = {"reverse_kl": (0, (5, 5)), "triangular": (0, (2, 6))}
    with figure(path, 2) as (plane, decay):
        for i, name in enumerate(names):
            divergence, dash = fdiv.divergence(name), dashed.get(name, "-")
            clock = float(divergence.curvature)  # type: ignore[arg-type]
            plane.plot(*trajectory(divergence, 24.0, 1.5)[1], lw=1, label=name)
            times, (theta, psi) = trajectory(divergence, max(24.0, 24.0 * clock))
            style = {"lw": 2 if name in dashed else 1, "ls": dash, "color": f"C{i}"}
            decay.plot(times / clock, np.hypot(theta, psi), label=f"{name}: {clock:g}", **style)
        plane.set(
            xlabel="theta, the model's error", ylabel="psi, the critic's slope", title="The game from theta = 1.5"
        )
        decay.set(yscale="log", xlim=(0, 24), ylim=(1e-12, 1), xlabel="time", ylabel="distance to 0")
        decay.set_title("The clock is f''(1)")
        plane.legend(fontsize=7)
        decay.legend(fontsize=7, loc="lower left", title="f''(1); dashed: coincides with kl", title_fontsize=7)


def _report() -> str:
    """Rates of both parametrisations for six divergences and more."""
    from theory.theorem import catalogue

    lines = [
        "| divergence | f''(1) | Re of the eigenvalues, v = psi x | decay of the trajectory | Re, T = f'(1) + psi x |",
        "|-|-|-|-|-|",
    ]
    for divergence in catalogue():
        if not _applies(divergence):
            continue
        curvature = float(divergence.curvature)  # type: ignore[arg-type]
        real = np.linalg.eigvals(jacobian(divergence, 1.0)).real.max()
        other = np.roots([1, 1 / curvature, 1]).real.max()
        cells = f"{curvature:.4g} | {real:.4g} | {-_rate(divergence) * curvature:.4g} | {other:.4g}"
        lines.append(f"| {divergence.spec} | {cells} |")
    return "\n".join(lines)


def _applies(divergence: Divergence) -> bool:
    return curved(divergence) and len(divergence.pieces) == 1 and divergence.gaussian.evaluable


THEOREM = Theorem(
    number=10,
    part="b",
    name="minmax",
    title="The min-max dynamics near the optimum",
    statement=r"V = -f''(1)\left(\theta\psi + \tfrac12 \psi^2\right) + O(3), \qquad"
    r" J = f''(1) \begin{pmatrix} 0 & 1 \\ -\kappa & -\kappa \end{pmatrix}, \qquad"
    r" \lambda = f''(1)\, \frac{-\kappa \pm \sqrt{\kappa^2 - 4\kappa}}{2}",
    hypotheses=(
        "P = N(0, 1), Q = N(theta, 1), a linear critic with the canonical activation",
        "f is C^3 near 1 with 0 < f''(1) < inf",
        "D(s) is finite for small s, so that V is finite near 0",
        "the critic's rate is kappa > 0 times the model's",
    ),
    reference="the method: Nagarajan and Kolter arXiv:1706.04156; the eigenvalues for the canonical activation: ours;"
    " the claim of local stability: Novello et al. arXiv:2509.21167",
    applies=_applies,
    comparisons=_comparisons,
    corrections=(
        "Local stability of the min-max game needs 0 < f''(1) < inf, and a value that is finite near 0, that is"
        " D(s) finite for small s: e^{u-1} - u is smooth and curved, and its value is infinite for every critic"
        " but 0",
    ),
    lemmas=_taylor,
    report=_report,
    draw=_draw,
)
