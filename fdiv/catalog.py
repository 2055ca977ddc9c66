"""The table of divergences: one literal record each, and the only file to touch to add one.

A record is data. Everything else (conjugate, activation, Gaussian value, certificate) is derived from its
generator. Generators are normalised by f(1) = 0; D_f(P||Q) = E_Q[f(dP/dQ)] in nats.
"""

from __future__ import annotations

import sympy
from sympy import Abs, Integer, Max, log, sqrt

from fdiv.calculus import u
from fdiv.divergence import Record
from fdiv.domain import Interval, Parameter

a = sympy.Symbol("a", real=True)
la = sympy.Symbol("la", real=True)
pi = sympy.Symbol("pi", real=True)

_RECORDS = (
    Record(
        "kl",
        "Kullback-Leibler KL(P||Q)",
        u * log(u),
        "Kullback and Leibler 1951",
        aliases=(
            "kullback_leibler",
            "forward_kl",
        ),
    ),
    Record("reverse_kl", "reverse Kullback-Leibler KL(Q||P)", -log(u), "Kullback and Leibler 1951", aliases=("burg",)),
    Record(
        "jeffreys",
        "Jeffreys KL(P||Q) + KL(Q||P)",
        (u - 1) * log(u),
        "Jeffreys 1946",
        aliases=(
            "j_divergence",
            "symmetric_kl",
        ),
    ),
    Record(
        "half_jeffreys",
        "half Jeffreys (KL(P||Q) + KL(Q||P))/2",
        (u - 1) * log(u) / 2,
        "Nowozin et al. arXiv:1606.00709",
    ),
    Record(
        "pearson",
        "Pearson chi-squared",
        (u - 1) ** 2,
        "Pearson 1900",
        aliases=(
            "chi2",
            "chi_squared",
            "pearson_chi2",
        ),
    ),
    Record(
        "neyman",
        "Neyman chi-squared (Pearson with P and Q exchanged)",
        (1 - u) ** 2 / u,
        "Neyman 1949",
        aliases=(
            "neyman_chi2",
            "reverse_chi2",
        ),
    ),
    Record(
        "symmetric_chi_squared",
        "symmetric chi-squared, Pearson + Neyman",
        (u - 1) ** 2 * (u + 1) / u,
        "Dragomir et al. 2000",
        aliases=("symmetric_chi2",),
    ),
    Record(
        "squared_hellinger",
        "squared Hellinger, unnormalised: range [0, 2]",
        (sqrt(u) - 1) ** 2,
        "Hellinger 1909; Novello et al. arXiv:2509.21167",
        aliases=("hellinger",),
    ),
    Record(
        "alpha",
        "alpha divergence in Cichocki's normalisation, f''(1) = 1",
        (u**a - 1 - a * (u - 1)) / (a * (a - 1)),
        "Cichocki and Amari 2010",
        (
            Parameter(
                "a",
                (Interval(-32, 0, lower_closed=True), Interval(0, 1), Interval(1, 32, upper_closed=True)),
                "the limits at 0 and 1 are reverse_kl and kl, and beyond 32 D(1) overflows",
            ),
        ),
        aliases=("cichocki_alpha",),
    ),
    Record(
        "jensen_shannon",
        "Jensen-Shannon with weights 1/2: range [0, log 2]",
        u * log(u) / 2 - (u + 1) / 2 * log((u + 1) / 2),
        "Lin 1991",
        aliases=(
            "js",
            "jsd",
        ),
    ),
    Record(
        "capacitory",
        "capacitory discrimination, twice Jensen-Shannon: range [0, 2 log 2]",
        u * log(u) - (u + 1) * log((u + 1) / 2),
        "Topsoe 2000",
        aliases=("js2",),
    ),
    Record(
        "shifted_log",
        "shifted log KL(Q||(P+Q)/2)",
        log(2) - log(1 + u),
        "Novello et al. arXiv:2509.21167",
        aliases=("sl",),
    ),
    Record("lin_k", "Lin's K, KL(P||(P+Q)/2)", u * log(2 * u / (1 + u)), "Lin 1991"),
    Record(
        "skew_jensen_shannon",
        "Jensen-Shannon with weight pi on P and 1-pi on Q",
        pi * u * log(u) - (1 - pi + pi * u) * log(1 - pi + pi * u),
        "Lin 1991",
        (Parameter("pi", (Interval(0, 1),), "it is the weight of P in a mixture of P and Q"),),
        aliases=("skew_js",),
    ),
    Record(
        "arithmetic_geometric",
        "arithmetic-geometric mean divergence, twice Taneja's",
        (1 + u) * log((1 + u) / (2 * sqrt(u))),
        "Taneja 1995",
        aliases=("ag",),
    ),
    Record(
        "triangular",
        "triangular discrimination: range [0, 2]",
        (u - 1) ** 2 / (u + 1),
        "Topsoe 2000",
        aliases=("vincze_le_cam",),
    ),
    Record("le_cam", "Le Cam, half triangular: range [0, 1]", (u - 1) ** 2 / (2 * (u + 1)), "Le Cam 1986"),
    Record("harmonic", "harmonic: 1 - E_Q[2u/(1+u)]", 1 - 2 * u / (1 + u), "Taneja 2005"),
    Record(
        "blended_chi_squared",
        "blended chi-squared with weight la on P, f''(1) = 1",
        (u - 1) ** 2 / (2 * (la * u + 1 - la)),
        "Lindsay 1994; Gyorfi and Vajda 2001",
        (Parameter("la", (Interval(0, 1),), "it is the weight of P; the limits are half pearson and half neyman"),),
        aliases=("gyorfi_vajda",),
    ),
    Record(
        "total_variation",
        "total variation: range [0, 1]",
        Abs(u - 1) / 2,
        "Sason and Verdu arXiv:1508.00335",
        aliases=("tv",),
    ),
    Record("marton", "Marton's one-sided chi-squared: range [0, 1]", Max(1 - u, Integer(0)) ** 2, "Marton 1996"),
)

CATALOG = {record.name: record for record in _RECORDS}
ALIASES = {alias: record.name for record in _RECORDS for alias in record.aliases}
