"""Golden values of D(s), w(s) and f*(t) at 30 digits, from generators written here by hand.

Run ``python tests/golden/make.py`` to write values.json beside this file; it takes about half a minute. It uses mpmath
and nothing of `fdiv`. With x = log u normal of mean -s/2 and variance s under Q,

    D(s) = E[f(e^x)],   w(s) = E[f(e^x) ((x + s/2)^2/s^2 - (x + s/2)/s - 1/s)] / 2,

because the second factor is twice the derivative by s of the logarithm of the density of x: no derivative of f is
taken. f*(t) is the maximum of u t - f(u) over u > 0, searched by golden section in x with 90 digits.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from mpmath import exp, linspace, log, mp, mpf, nstr, pi, quad, sqrt

HERE = Path(__file__).parent
DIGITS = 30
S = ("0.3", "2", "9")


def skew_js(u):
    w = mpf(3) / 10  # here, so that it has the digits of the caller
    return w * u * log(u) - (1 - w + w * u) * log(1 - w + w * u)


def alpha(u, a=None):
    a = mpf(3) / 10 if a is None else a
    return (u**a - 1 - a * (u - 1)) / (a * (a - 1))


def perimeter(u):
    b = mpf(3) / 2
    return b / (b - 1) * ((1 + u**b) ** (1 / b) - 2 ** (1 / b - 1) * (1 + u))


def soft(u):
    return u * log(u) - u + 1 if u < 1 else (u - 1) ** 2 / 2


# spec: (generator, its kinks, arguments of the conjugate)
TABLE: dict[str, tuple[Callable, tuple, tuple[str, ...]]] = {
    "kl": (lambda u: u * log(u), (), ("-2", "0.5", "2")),
    "reverse_kl": (lambda u: -log(u), (), ("-4", "-1", "-0.1")),
    "jeffreys": (lambda u: (u - 1) * log(u), (), ("-3", "0.5", "2")),
    "pearson": (lambda u: (u - 1) ** 2, (), ("-5", "-1", "2")),
    "neyman": (lambda u: (1 - u) ** 2 / u, (), ("-3", "0", "0.9")),
    "symmetric_chi_squared": (lambda u: (u - 1) ** 2 * (u + 1) / u, (), ("-3", "0.3", "2")),
    "squared_hellinger": (lambda u: (sqrt(u) - 1) ** 2, (), ("-2", "0.25", "0.9")),
    "alpha:a=0.3": (alpha, (), ("-3", "0.5", "1.3")),
    "alpha:a=-1.5": (lambda u: alpha(u, mpf(-3) / 2), (), ("-3", "0.1", "0.35")),
    "alpha:a=3": (lambda u: alpha(u, mpf(3)), (), ("-2", "-0.25", "2")),
    "jensen_shannon": (lambda u: (u * log(u) - (u + 1) * log((u + 1) / 2)) / 2, (), ("-2", "0.1", "0.3")),
    "skew_jensen_shannon:pi=0.3": (skew_js, (), ("-1", "0.1", "0.3")),
    "shifted_log": (lambda u: log(2) - log(1 + u), (), ("-3", "-0.5", "-0.1")),
    "lin_k": (lambda u: u * log(2 * u / (1 + u)), (), ("-2", "0.1", "0.6")),
    "modified_gan": (lambda u: log((1 + u) / (2 * u)), (), ("-3", "-0.5", "-0.1")),
    "arithmetic_geometric": (lambda u: (1 + u) * log((1 + u) / (2 * sqrt(u))), (), ("-2", "0.1", "2")),
    "geometric_jensen_shannon": (lambda u: (u - 1) * log(u) / 4 + sqrt(u) - 1, (), ("-2", "0.6", "2")),
    "triangular": (lambda u: (u - 1) ** 2 / (u + 1), (), ("-4", "-1", "0.9")),
    "blended_chi_squared:la=0.3": (
        lambda u: (u - 1) ** 2 / (2 * (3 * u / 10 + mpf(7) / 10)),
        (),
        ("-3", "0.2", "1.5"),
    ),
    "osterreicher_vajda:b=1.5": (perimeter, (), ("-0.7", "0.1", "0.5")),
    "total_variation": (lambda u: abs(u - 1) / 2, (1,), ("-2", "0.3", "0.5")),
    "hockey_stick:gamma=1.5": (lambda u: max(u - mpf(3) / 2, mpf(0)), (mpf(3) / 2,), ("-1", "0.4", "0.9")),
    "max_ratio": (lambda u: max(u, 1 / u) - 1, (1,), ("-3", "-0.5", "0.9")),
    "marton": (lambda u: max(1 - u, mpf(0)) ** 2, (1,), ("-3", "-1", "-0.2")),
    "vajda:k=3": (lambda u: abs(u - 1) ** 3, (1,), ("-4", "-1", "2")),
    "soft_chi": (soft, (1,), ("-2", "-0.5", "2")),
    "taneja_type": (lambda u: (u**2 - 1) ** 2 / (u * sqrt(u)), (), ("-3", "1", "4")),
}


def expectation(f: Callable, kinks: tuple, s: str, scored: bool) -> str:
    """D(s), or w(s) where the integrand is scored; panels of x between -40 and 40 deviations, cut at kinks."""
    with mp.workdps(50):
        s = mpf(s)
        root = sqrt(s)
        # mass sits at e^{px} n(x), p between -1.5 and 3, so within 14 deviations of s (p - 1/2)
        low, high = -3 * s - 14 * root, 4 * s + 14 * root
        cuts = sorted({*linspace(low, high, 25), *(log(k) for k in kinks)})

        def integrand(x):
            y = x + s / 2
            score = (y**2 / s**2 - y / s - 1 / s) / 2 if scored else 1
            return f(exp(x)) * score * exp(-(y**2) / (2 * s)) / sqrt(2 * pi * s)

        return nstr(quad(integrand, cuts), DIGITS)


def supremum(f: Callable, t: str) -> str:
    """The maximum of u t - f(u), which is concave in u and so has one hill in x = log u."""
    with mp.workdps(90):
        t = mpf(t)

        def rise(x):
            return exp(x) * t - f(exp(x))

        grid = linspace(-60, 12, 433)
        best = max(range(len(grid)), key=lambda i: rise(grid[i]))
        if best == 0:  # the supremum is the limit at u = 0
            grid, best = linspace(-400, -60, 3), 0
        low, high = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
        share = (sqrt(5) - 1) / 2
        while high - low > mpf(10) ** -42:
            left, right = high - share * (high - low), low + share * (high - low)
            low, high = (left, high) if rise(left) < rise(right) else (low, right)
        top = rise((low + high) / 2)
        return nstr(top, DIGITS) if abs(top) > mpf(10) ** -60 else "0.0"


def main() -> None:
    values = {}
    for spec, (f, kinks, slopes) in TABLE.items():
        values[spec] = {
            "gaussian": {s: expectation(f, kinks, s, scored=False) for s in S},
            "gradient-weight": {s: expectation(f, kinks, s, scored=True) for s in S},
            "conjugate": {t: supremum(f, t) for t in slopes},
        }
        print(spec, values[spec], flush=True)
    (HERE / "values.json").write_text(json.dumps(values, indent=1) + "\n")


if __name__ == "__main__":
    main()
