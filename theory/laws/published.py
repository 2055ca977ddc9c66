"""Each family's divergence on a finite alphabet as published: SciPy's relative entropies and sums by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import kl_div, rel_entr, xlogy

Reference = Callable[..., Any]


def _kl(p: Any, q: Any) -> Any:
    return rel_entr(p, q)


def _reverse(p: Any, q: Any) -> Any:
    return rel_entr(q, p)


def _power(p: Any, q: Any, a: float) -> Any:
    """p^a q^(1-a), with the convention 0 * inf = 0 only where it is a limit."""
    with np.errstate(all="ignore"):
        return np.where(
            p == 0, (0.0 if a > 0 else np.inf) * np.ones_like(q), np.where(q == 0, _tail(p, a), _both(p, q, a))
        )


def _both(p: Any, q: Any, a: float) -> Any:
    return np.where((p > 0) & (q > 0), p ** float(a) * q ** (1.0 - a), 0.0)


def _tail(p: Any, a: float) -> Any:
    return np.where(p > 0, np.inf if a > 1 else 0.0, 0.0)


def _alpha(p: Any, q: Any, a: float) -> Any:
    if a in (0, 1):
        return _kl(p, q) if a == 1 else _reverse(p, q)
    return (_power(p, q, a) - a * p - (1 - a) * q) / (a * (a - 1))


def _quotient(numerator: Any, denominator: Any) -> Any:
    """A quotient of two non-negative numbers, inf where only the denominator is 0."""
    with np.errstate(all="ignore"):
        return np.where(numerator == 0, 0.0, numerator / denominator)


def _perimeter(p: Any, q: Any, b: float) -> Any:
    if b == 1:
        return rel_entr(p, (p + q) / 2) + rel_entr(q, (p + q) / 2)
    return b / (b - 1) * ((p**b + q**b) ** (1 / b) - 2 ** (1 / b - 1) * (p + q))


# terms of a sum over the letters; P is the first argument
TERMS: dict[str, Reference] = {
    "kl": _kl,
    "reverse_kl": _reverse,
    "jeffreys": lambda p, q: rel_entr(p, q) + rel_entr(q, p),
    "half_jeffreys": lambda p, q: (rel_entr(p, q) + rel_entr(q, p)) / 2,
    "pearson": lambda p, q: _quotient((p - q) ** 2, q),
    "neyman": lambda p, q: _quotient((p - q) ** 2, p),
    "symmetric_chi_squared": lambda p, q: _quotient((p - q) ** 2, q) + _quotient((p - q) ** 2, p),
    "squared_hellinger": lambda p, q: (np.sqrt(p) - np.sqrt(q)) ** 2,
    "halved_hellinger": lambda p, q: (p + q) / 2 - np.sqrt(p * q),
    "alpha": _alpha,
    "amari": lambda p, q, a: _alpha(p, q, (1 + a) / 2),
    "tsallis": lambda p, q, a: _kl(p, q) if a == 1 else (_power(p, q, a) - q) / (a - 1),
    "cressie_read": lambda p, q, la: 2 * _alpha(p, q, la + 1),
    "t_power": lambda p, q, t: abs(t * (t - 1)) * _alpha(p, q, t),
    "jensen_shannon": lambda p, q: (rel_entr(p, (p + q) / 2) + rel_entr(q, (p + q) / 2)) / 2,
    "capacitory": lambda p, q: rel_entr(p, (p + q) / 2) + rel_entr(q, (p + q) / 2),
    "skew_jensen_shannon": lambda p, q, pi: (
        pi * rel_entr(p, pi * p + (1 - pi) * q) + (1 - pi) * rel_entr(q, pi * p + (1 - pi) * q)
    ),
    "shifted_log": lambda p, q: rel_entr(q, (p + q) / 2),
    "lin_k": lambda p, q: rel_entr(p, (p + q) / 2),
    "skew_kl": lambda p, q, pi: rel_entr(p, (1 - pi) * p + pi * q),
    "skew_reverse_kl": lambda p, q, pi: rel_entr(q, (1 - pi) * q + pi * p),
    "modified_gan": lambda p, q: rel_entr(q, p) - rel_entr(q, (p + q) / 2),
    "arithmetic_geometric": lambda p, q: 2 * rel_entr((p + q) / 2, np.sqrt(p * q)),
    "geometric_jensen_shannon": lambda p, q: (rel_entr(p, q) + rel_entr(q, p)) / 4 + np.sqrt(p * q) - (p + q) / 2,
    "skew_geometric_jensen_shannon": lambda p, q, la: (
        (1 - la) * kl_div(p, p ** (1 - la) * q**la) + la * kl_div(q, p ** (1 - la) * q**la)
    ),
    "triangular": lambda p, q: (p - q) ** 2 / (p + q),
    "le_cam": lambda p, q: (p - q) ** 2 / (p + q) / 2,
    "harmonic": lambda p, q: q - 2 * p * q / (p + q),
    "blended_chi_squared": lambda p, q, la: _quotient((p - q) ** 2, 2 * (la * p + (1 - la) * q)),
    "osterreicher_vajda": _perimeter,
    "total_variation": lambda p, q: np.abs(p - q) / 2,
    "hockey_stick": lambda p, q, gamma: np.maximum(p - gamma * q, 0),
    "degroot": lambda p, q, pi: min(pi, 1 - pi) * q - np.minimum(pi * p, (1 - pi) * q),
    "max_ratio": lambda p, q: _quotient(np.maximum(p, q) ** 2, p) - q,
    "marton": lambda p, q: _quotient(np.maximum(q - p, 0) ** 2, q),
    "one_sided_chi_squared": lambda p, q: _quotient(np.maximum(p - q, 0) ** 2, q),
    "vajda": lambda p, q, k: _quotient(np.abs(p - q) ** k, q ** (k - 1)),
    "puri_vincze": lambda p, q, k: np.abs(p - q) ** k / (p + q) ** (k - 1) / 2,
    "soft_chi": lambda p, q: np.where(p < q, xlogy(p, _quotient(p, q)) - p + q, _quotient((p - q) ** 2, 2 * q)),
    "taneja_type": lambda p, q: _quotient((p**2 - q**2) ** 2, (p * q) ** 1.5),
}


def published(spec: str) -> Reference | None:
    """(P, Q) -> the published value of the divergence named by ``name:param=value``, or None if it has none here."""
    name, _, tail = spec.partition(":")
    if name not in TERMS or "/" in spec:
        return None
    values = {key: float(value) for key, _, value in (pair.partition("=") for pair in tail.split(",") if tail)}

    def total(p: Any, q: Any) -> float:
        p, q = np.asarray(p, dtype=float), np.asarray(q, dtype=float)
        return float(np.sum(TERMS[name](p, q, **values)))

    return total
