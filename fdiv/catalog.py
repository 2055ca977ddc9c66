"""The table of divergences: one literal record each, and the only file to touch to add one.

A record is data. Everything else (conjugate, activation, Gaussian value, certificate) is derived from its
generator. Generators are normalised by f(1) = 0; D_f(P||Q) = E_Q[f(dP/dQ)] in nats.
"""

from __future__ import annotations

from sympy import Abs, Integer, Max, Min, Piecewise, Symbol, log, sign, sqrt

from fdiv.exact.domain import Interval, Parameter
from fdiv.exact.symbols import u
from fdiv.record import Record

a, b, k = (Symbol(name, real=True) for name in "abk")
t = Symbol("t", real=True, nonzero=True)  # another symbol than the real t of f*(t), by its assumptions
la, pi, gamma = (Symbol(name, real=True) for name in ("la", "pi", "gamma"))


def _closed(low: float, high: float) -> Interval:
    return Interval(low, high, lower_closed=True, upper_closed=True)


_INSIDE, _LOST = _closed(1e-6, 1 - 1e-6), "and nearer than 1e-6 to 0 or 1 its part in D is lost in rounding"
_WEIGHT_OF_P = Parameter("pi", (_INSIDE,), f"it is the weight of P in a mixture of P and Q, {_LOST}", 0.3)
_MIXED_WEIGHT = Parameter("pi", (_INSIDE, _closed(1, 1)), f"it is the weight of the first argument, {_LOST}", 0.3)


def _order(name: str, low: int, high: int, reason: str, example: float) -> Parameter:
    return Parameter(name, (_closed(low, high),), reason, example)


_RECORDS = (
    Record(
        "kl",
        "Kullback-Leibler KL(P||Q)",
        u * log(u),
        "Kullback and Leibler 1951",
        aliases=("kullback_leibler", "forward_kl"),
    ),
    Record(
        "reverse_kl",
        "reverse Kullback-Leibler KL(Q||P)",
        -log(u),
        "Kullback and Leibler 1951",
        aliases=("rkl", "burg"),
    ),
    Record(
        "jeffreys",
        "Jeffreys KL(P||Q) + KL(Q||P)",
        (u - 1) * log(u),
        "Jeffreys 1946",
        aliases=("symmetric_kl", "j_divergence"),
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
        aliases=("chi2", "chi_squared", "pearson_chi2"),
    ),
    Record(
        "neyman",
        "Neyman chi-squared (Pearson with P and Q exchanged)",
        (1 - u) ** 2 / u,
        "Neyman 1949",
        aliases=("neyman_chi2", "reverse_chi2"),
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
        "halved_hellinger",
        "squared Hellinger, halved: range [0, 1]",
        (sqrt(u) - 1) ** 2 / 2,
        "Hellinger 1909; Sason and Verdu arXiv:1508.00335",
        aliases=("halved_squared_hellinger",),
    ),
    Record(
        "alpha",
        "alpha divergence in Cichocki's normalisation, f''(1) = 1; KL at 1, reverse KL at 0",
        (u**a - 1 - a * (u - 1)) / (a * (a - 1)),
        "Cichocki and Amari 2010",
        (_order("a", -32, 32, "beyond 32 D(1) overflows", 0.3),),
        ("cichocki_alpha",),
    ),
    Record(
        "amari",
        "Amari's alpha divergence, f''(1) = 1; KL at 1, reverse KL at -1",
        4 / (1 - a**2) * ((1 - a) / 2 + (1 + a) / 2 * u - u ** ((1 + a) / 2)),
        "Amari and Nagaoka 2000",
        (_order("a", -32, 32, "beyond 32 D(4) overflows", 0.3),),
        ("amari_alpha",),
    ),
    Record(
        "tsallis",
        "Tsallis relative entropy, or Hellinger divergence of order a; KL at 1",
        (u**a - 1 - a * (u - 1)) / (a - 1),
        "Tsallis 1998; Liese and Vajda 2006",
        (
            Parameter(
                "a",
                (Interval(0, 32, upper_closed=True),),
                "at 0 it is identically zero, and beyond 32 D(1) overflows",
                0.3,
            ),
        ),
        ("hellinger_order",),
    ),
    Record(
        "cressie_read",
        "Cressie-Read power divergence, f''(1) = 2; twice KL at 0, twice reverse KL at -1",
        2 * (u ** (la + 1) - 1 - (la + 1) * (u - 1)) / (la * (la + 1)),
        "Cressie and Read 1984",
        (_order("la", -32, 31, "beyond, D(1) overflows", 2 / 3),),
        ("power_divergence",),
    ),
    Record(
        "t_power",
        "t-power divergence, f''(1) = |t(t-1)|",
        sign(t * (t - 1)) * (u**t - 1 - t * (u - 1)),
        "Liese and Vajda 1987",
        (
            Parameter(
                "t",
                (Interval(-32, 0, lower_closed=True), Interval(0, 1), Interval(1, 32, upper_closed=True)),
                "at 0 and 1 it is identically zero, and beyond 32 D(1) overflows",
                0.3,
            ),
        ),
    ),
    Record(
        "jensen_shannon",
        "Jensen-Shannon with weights 1/2: range [0, log 2]",
        u * log(u) / 2 - (u + 1) / 2 * log((u + 1) / 2),
        "Lin 1991",
        aliases=("js", "jsd"),
    ),
    Record(
        "capacitory",
        "capacitory discrimination, twice Jensen-Shannon: range [0, 2 log 2]",
        u * log(u) - (u + 1) * log((u + 1) / 2),
        "Topsoe 2000",
        aliases=("js2",),
    ),
    Record(
        "skew_jensen_shannon",
        "Jensen-Shannon with weight pi on P and 1-pi on Q",
        pi * u * log(u) - (1 - pi + pi * u) * log(1 - pi + pi * u),
        "Lin 1991",
        (_WEIGHT_OF_P,),
        ("skew_js",),
    ),
    Record(
        "shifted_log",
        "shifted log KL(Q||(P+Q)/2)",
        log(2) - log(1 + u),
        "Novello et al. arXiv:2509.21167",
        aliases=("sl",),
    ),
    Record("lin_k", "Lin's K, KL(P||(P+Q)/2)", u * log(2 * u / (1 + u)), "Lin 1991", aliases=("k_divergence",)),
    Record(
        "skew_kl",
        "skew Kullback-Leibler KL(P||(1-pi)P + pi Q); KL at 1",
        u * log(u / ((1 - pi) * u + pi)),
        "Lee 1999",
        (_MIXED_WEIGHT,),
    ),
    Record(
        "skew_reverse_kl",
        "skew reverse Kullback-Leibler KL(Q||(1-pi)Q + pi P); reverse KL at 1",
        -log(1 - pi + pi * u),
        "Lee 1999",
        (_MIXED_WEIGHT,),
    ),
    Record(
        "modified_gan",
        "modified GAN, normalised by f(1) = 0: KL(Q||P) - KL(Q||(P+Q)/2)",
        log((1 + u) / (2 * u)),
        "Goodfellow et al. arXiv:1406.2661",
    ),
    Record(
        "arithmetic_geometric",
        "arithmetic-geometric mean divergence, twice Taneja's",
        (1 + u) * log((1 + u) / (2 * sqrt(u))),
        "Taneja 1995",
        aliases=("ag",),
    ),
    Record(
        "geometric_jensen_shannon",
        "extended geometric Jensen-Shannon",
        (u - 1) * log(u) / 4 + sqrt(u) - 1,
        "Nielsen arXiv:2508.05066",
        aliases=("gjs",),
    ),
    Record(
        "skew_geometric_jensen_shannon",
        "extended geometric Jensen-Shannon towards P^(1-la) Q^la, with weight 1-la on P",
        la * (1 - la) * (u - 1) * log(u) + u ** (1 - la) - (1 - la) * u - la,
        "Nielsen arXiv:2508.05066",
        (Parameter("la", (_INSIDE,), f"it is an exponent in a geometric mean of P and Q, {_LOST}", 0.3),),
        ("skew_gjs",),
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
        "blended chi-squared with weight la on P, f''(1) = 1; half Pearson at 0, half Neyman at 1",
        (u - 1) ** 2 / (2 * (la * u + 1 - la)),
        "Lindsay 1994; Gyorfi and Vajda 2001",
        (Parameter("la", (_closed(0, 0), _INSIDE, _closed(1, 1)), f"it is the weight of P, {_LOST}", 0.3),),
        ("gyorfi_vajda", "blended_chi2"),
    ),
    Record(
        "osterreicher_vajda",
        "Osterreicher and Vajda's (Arimoto's) perimeter divergence; capacitory at 1, squared Hellinger at 1/2",
        b / (b - 1) * ((1 + u**b) ** (1 / b) - 2 ** (1 / b - 1) * (1 + u)),
        "Osterreicher and Vajda 2003",
        (
            Parameter(
                "b",
                (_closed(0.125, 16),),
                "f''(1) = b 2^(1/b - 2) explodes as b -> 0, and the limit b -> inf is total variation",
                1.5,
            ),
        ),
        ("arimoto",),
    ),
    Record(
        "total_variation",
        "total variation: range [0, 1]",
        Abs(u - 1) / 2,
        "Sason and Verdu arXiv:1508.00335",
        aliases=("tv",),
    ),
    Record(
        "hockey_stick",
        "hockey-stick of order gamma; total variation at 1",
        Max(u - gamma, Integer(0)),
        "Sason and Verdu arXiv:1508.00335",
        (_order("gamma", 1, 10**6, "f(1) = 0 needs gamma >= 1, and beyond 10^6 D(1) underflows", 1.5),),
        ("e_gamma",),
    ),
    Record(
        "degroot",
        "DeGroot's statistical information with prior pi on P",
        Min(pi, 1 - pi) - Min(pi * u, 1 - pi),
        "DeGroot 1962; Liese and Vajda 2006",
        (Parameter("pi", (_INSIDE,), f"it is the prior probability of P, {_LOST}", 0.3),),
        ("statistical_information",),
    ),
    Record(
        "max_ratio",
        "max-ratio: E_Q[max(u, 1/u)] - 1",
        Max(u, 1 / u) - 1,
        "TensorFlow Probability, log1p_abs",
        aliases=("log1p_abs",),
    ),
    Record(
        "marton",
        "Marton's one-sided chi-squared: range [0, 1]",
        Max(1 - u, Integer(0)) ** 2,
        "Marton 1996",
    ),
    Record(
        "one_sided_chi_squared",
        "one-sided chi-squared E_Q[(u-1)_+^2]",
        Max(u - 1, Integer(0)) ** 2,
        "Gushchin 2016",
        aliases=("one_sided_chi2",),
    ),
    Record(
        "vajda",
        "Vajda's chi^k E_Q|u-1|^k; Pearson at 2",
        Abs(u - 1) ** k,
        "Vajda 1973",
        (
            Parameter(
                "k",
                (_closed(1.05, 16),),
                "f is convex for k >= 1, but below 1.05 doubles do not resolve the rise of its slope at u = 1; "
                "at 1 it is twice total variation, and beyond 16 D(4) overflows",
                3.0,
            ),
        ),
        ("chi_k",),
    ),
    Record(
        "puri_vincze",
        "Puri and Vincze's |1-u|^k/(2(u+1)^(k-1)); total variation at 1, Le Cam at 2",
        Abs(1 - u) ** k / (2 * (u + 1) ** (k - 1)),
        "Puri and Vincze 1990",
        (
            Parameter(
                "k",
                (_closed(1, 1), _closed(1.05, 16)),
                "f is convex for k >= 1; between 1 and 1.05 doubles do not resolve the rise of its slope at u = 1, "
                "and a power beyond 16 leaves nothing to measure",
                3.0,
            ),
        ),
    ),
    Record(
        "soft_chi",
        "soft chi-squared: KL's generator below 1, half Pearson's above",
        Piecewise((u * log(u) - u + 1, u < 1), ((u - 1) ** 2 / 2, True)),
        "Lee et al. OptiDICE arXiv:2106.10783",
        aliases=("soft_chi_squared", "dice"),
    ),
    Record(
        "taneja_type",
        "Taneja's type (u^2-1)^2/u^(3/2), twice Kumar and Johnson's",
        (u**2 - 1) ** 2 / (u * sqrt(u)),
        "Kumar and Johnson 2005",
    ),
)

CATALOG = {record.name: record for record in _RECORDS}
ALIASES = {alias: record.name for record in _RECORDS for alias in record.aliases}
