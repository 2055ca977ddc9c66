"""Torch losses of certified divergences: pure functions of tensors, with exact gradients.

`GaussianLoss` is D(s) between Gaussians of one covariance, a deterministic function of the scaled squared
error, so no critic is needed; near s = 0 it is f''(1)/2 times the mean squared error. `VariationalLoss` is
the lower bound E_P[T] - E_Q[f*(T)] <= D_f(P||Q) (Nowozin et al. arXiv:1606.00709) with the canonical
activation T(v) = f'(e^v).

Values and gradients are separate formulas, each stable where it is used; neither holds an epsilon. Results
are in the input's dtype, or in fp32 for fp16 and bf16; D(s), one number per sample, is computed in fp64 on the
way, and a critic's values in the dtype of the result. Constants live on the input's device.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import final

import torch
from torch import Tensor

from fdiv.evidence.certificate import require
from fdiv.exact.symbols import v
from fdiv.numeric.autograd import Function, derived
from fdiv.numeric.backends import torch_backend
from fdiv.numeric.lower import lower
from fdiv.record import Divergence


def _computable(x: Tensor) -> Tensor:
    """Return x in at least fp32; raises TypeError for a tensor that is not floating point."""
    if not x.is_floating_point():
        raise TypeError(f"a loss needs a floating-point tensor, got {x.dtype}")
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def _at_most(x: Tensor, end: float) -> Tensor:
    """Return the smaller of x and the largest number of its dtype that is at most `end`."""
    top = torch.tensor(end, dtype=x.dtype)
    top = torch.nextafter(top, top - 1) if top.double() > end else top
    return x.clamp(max=float(top))


def _in_double(s: Tensor, function: Function) -> Tensor:
    """Apply a function of s >= 0 in fp64 where the device has it, since e^{-s} in fp32 has s roundings."""
    s = _computable(s)
    wide = s if s.device.type == "mps" else s.double()
    return function(wide).to(s.dtype)


def _from_zero(function: Function) -> Function:
    """Return NaN where s is negative or NaN; of a value and its derivatives alike, so that no gradient is 0 there."""
    return lambda s: torch.where(s >= 0, function(s), torch.nan)


@final
@dataclass(frozen=True)
class GaussianLoss:
    """s -> D(s), elementwise, where s = |mu_P - mu_Q|^2 / sigma^2 >= 0.

    Raises `Refused` when the divergence is not certified, D(s) is not finite for every s, or D(s) and w(s) could
    not be settled. A negative s gives NaN, and so does its gradient. D grows without bound for some divergences
    and overflows truly: for those, see `wrapped`.
    """

    divergence: Divergence

    def __post_init__(self) -> None:
        """Ask for the certificate and for a finite Gaussian value."""
        require(self.divergence, "D(s)", "w(s) = dD/ds >= 0")

    @cached_property
    def _functions(self) -> tuple[Function, Function]:
        value, weight, slope = map(_from_zero, self.divergence.gaussian.on(torch_backend()))
        return derived(value, weight, slope), derived(weight, slope)

    def __call__(self, s: Tensor) -> Tensor:
        """D(s) in nats, shaped like s; its gradient is `gradient_weight`."""
        return _in_double(s, self._functions[0])

    def gradient_weight(self, s: Tensor) -> Tensor:
        """w(s) = dD/ds >= 0, shaped like s; where it is infinite at s = 0, the subgradient 0."""
        return _in_double(s, self._functions[1])

    def wrapped(self, s: Tensor) -> Tensor:
        """log(1 + 2 D(s) / f''(1)), an increasing function of D that does not overflow.

        It is s + O(s^2) near 0 and, where D grows exponentially, linear in s for large s: for Pearson and
        Neyman it is s itself. Where f''(1) is not in (0, inf) the factor 2/f''(1) is 1.
        """
        factor = 2 / self.divergence.curvature if self.divergence.reduces_to_mse else 1  # type: ignore[operator]
        value, slope = map(_from_zero, self.divergence.gaussian.wrapped_on(torch_backend(), factor))
        return _in_double(s, derived(value, slope))


@final
@dataclass(frozen=True)
class VariationalLoss:
    """(v_p, v_q) -> E_P[T(v_p)] - E_Q[f*(T(v_q))], a lower bound on D_f(P||Q), tight at v = log dP/dQ.

    v_p and v_q are the critic's raw outputs on samples of P and of Q. The critic maximises the bound and
    the model minimises it. Where f has a kink, T is a smooth step in place of the jump of f', and the bound
    is not tight there. Raises `Refused` when the divergence or its activation is not certified.
    """

    divergence: Divergence

    def __post_init__(self) -> None:
        """Ask for the certificate and for an activation."""
        require(self.divergence, "activation")

    @cached_property
    def _functions(self) -> dict[str, Function]:
        activation, backend = self.divergence.activation, torch_backend()
        pairs = {
            "output": (activation.output, activation.output_slope),
            "term": (activation.conjugate_term, activation.conjugate_slope),
        }
        values = {name: (lower(f, v, backend), lower(df, v, backend)) for name, (f, df) in pairs.items()}
        output, slope = values["output"]
        end = float(self.divergence.conjugate.effective_domain.upper)
        # far out T is f'(inf) to the last digit, and its rounding must not leave the domain
        return {"output": derived(lambda x: _at_most(output(x), end), slope), "term": derived(*values["term"])}

    def output_activation(self, v: Tensor) -> Tensor:
        """T(v), the critic's value, elementwise; it increases inside the closed effective domain of f*."""
        return self._functions["output"](_computable(v))

    def conjugate_term(self, v: Tensor) -> Tensor:
        """f*(T(v)), elementwise."""
        return self._functions["term"](_computable(v))

    def __call__(self, v_p: Tensor, v_q: Tensor) -> Tensor:
        """Return the bound, a scalar in nats; each tensor is averaged, and they may differ in shape."""
        return self.output_activation(v_p).mean() - self.conjugate_term(v_q).mean()
