"""Tensors to losses: the erasure and the retention. No options, no I/O.

P is the frozen model on the anchor, Q the trained model on the target; both take one reverse step from the same
x_t with the same variance, so every f-divergence between them is a function of
s = |mu_P - mu_Q|^2 / sigma^2 alone (Novello et al., arXiv 2509.21167, section 4).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

import fdiv
from fdiv.losses import GaussianLoss, VariationalLoss
from harness.loss.scale import reference_s
from harness.runs.places import public_specs

Function = Callable[[Tensor], Tensor]


def reference_weight(loss: GaussianLoss | None) -> float:
    """w(0), the weight that MSE would have everywhere; w(`reference_s`) where that is 0 or infinite; 1 without a w."""
    if loss is None:
        return 1.0
    return loss.gradient_weight(torch.tensor([reference_s(loss)], dtype=torch.float64)).item()


@dataclass(frozen=True)
class Losses:
    """The verified losses of an erasure, one a concept."""

    divergences: tuple[fdiv.Divergence, ...]
    weights: tuple[float, ...]
    gaussian: tuple[GaussianLoss | None, ...]
    """None where D(s) is infinite."""
    variational: VariationalLoss | None

    @classmethod
    def of(cls, divergences: Sequence[fdiv.Divergence], weights: Sequence[float], objective: str) -> "Losses":
        """Make the losses of certified divergences, one a concept, for one of the values of `--objective`.

        Raises:
            fdiv.Refused: no certificate for such a loss.
        """
        variational = VariationalLoss(divergences[0]) if objective == "variational" else None
        gaussian: dict[str, GaussianLoss | None] = {}
        for divergence in divergences:
            try:
                gaussian[divergence.spec] = GaussianLoss(divergence)
            except fdiv.Refused:
                if variational is None:
                    raise
                gaussian[divergence.spec] = None  # it only accompanies the critic's bound
        each = tuple(gaussian[divergence.spec] for divergence in divergences)
        return cls(tuple(divergences), tuple(weights), each, variational)

    @property
    def spec(self) -> str:
        """The names of the divergences."""
        return public_specs(self.divergences)

    @cached_property
    def factors(self) -> tuple[float, ...]:
        """Each concept's weight over w(0): near the optimum all divergences then pull alike."""
        return tuple(w / reference_weight(loss) for w, loss in zip(self.weights, self.gaussian, strict=True))

    def divergence(self, s: Tensor, concept: Tensor) -> Tensor | None:
        """D(s) of each row by its own concept's divergence, (n,); None where one of them is infinite."""
        return self._by_concept(s, concept, lambda loss: loss)

    def relative_weight(self, s: Tensor, concept: Tensor) -> Tensor | None:
        """w(s)/w(0) of each row by its own concept's divergence, (n,); None where one has none."""
        return self._by_concept(s, concept, lambda loss: lambda x: loss.gradient_weight(x) / reference_weight(loss))

    def _by_concept(self, s: Tensor, concept: Tensor, of: Callable[[GaussianLoss], Function]) -> Tensor | None:
        distinct = [loss for loss in {id(loss): loss for loss in self.gaussian}.values() if loss is not None]
        if None in self.gaussian:
            return None
        if len(distinct) == 1:
            return of(distinct[0])(s)
        result = torch.zeros_like(s)
        for loss in distinct:
            ours = torch.tensor([each is loss for each in self.gaussian], device=s.device)[concept]
            result[ours] = of(loss)(s[ours])
        return result


def erasure_loss(values: Tensor, concept: Tensor, losses: Losses) -> Tensor:
    """The weighted mean of a batch's divergences, a scalar (Novello et al., section 4.1).

    Args:
        values: D(s) of each row, or what the critic makes of it, (n,).
        concept: which concept each row erases, (n,).
        losses: gives each concept's weight.
    """
    factors = torch.tensor(losses.factors, dtype=values.dtype, device=values.device)
    return (factors[concept] * values).mean()


def variational_values(loss: VariationalLoss, critic_value: Tensor) -> Tensor:
    """What the model minimises of E_P[T(v)] - E_Q[f*(T(v))]: its second term, at samples (samples, n) of Q, (n,).

    With the best critic its gradient is that of D (envelope theorem; Nowozin et al., 1606.00709, section 2).
    """
    return -loss.conjugate_term(critic_value).mean(0)


def retain_loss(drift: Tensor) -> Tensor:
    """The mean of retained predictions' relative drift, (n,): the KL case, as here no large error may be forgotten."""
    return drift.mean()
