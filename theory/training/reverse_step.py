r"""From the reverse step to s: s is a gain in signal-to-noise ratio times a squared error of the predicted image.

Let x_t = sqrt(abar) x_0 + sqrt(1 - abar) e, SNR = abar/(1 - abar), and let a sampler step from SNR_t to SNR_prev. Write
dx_0 for the difference of the two predictions of x_0 that P and Q make from one x_t.

Proof. Ancestral steps draw from q(x_prev | x_t, x_0). Its log-density in x_prev is, up to a constant, the sum of those
of x_prev given x_0 and of x_t given x_prev, so its precision is 1/(1 - abar_prev) + alpha/(1 - alpha) with
alpha = abar_t/abar_prev, that is, its variance is DDPM's beta (1 - abar_prev)/(1 - abar_t) with beta = 1 - alpha; and
x_0 enters its mean through sqrt(abar_prev)/(1 - abar_prev) times the variance. Hence

    s = abar_prev variance/(1 - abar_prev)^2 |dx_0|^2 = (SNR_prev - SNR_t) |dx_0|^2,

for DDPM with the small variance and for DDIM with eta = 1. Euler ancestral divides x by sqrt(abar), so that
SNR = 1/sigma^2, and is the same posterior. The large variance, beta, multiplies s by (1 - abar_prev)/(1 - abar_t).
The predictions are related by x_t alone: |dx_0|^2 = |de|^2/SNR_t = (1 - abar_t) |dv|^2.

Flow matching has the Gaussian path x = (1 - sigma) x_0 + sigma e, dx_0 = -sigma dv and SNR = (1 - sigma)^2/sigma^2. Its
Euler step has no variance: the two steps are point masses, s is infinite unless they agree, and every f-divergence is
f(0) + f'(inf) or 0, with no gradient. A Gaussian path must be named. The posterior of the path gives
(SNR_next - SNR) sigma^2 |dv|^2, as above; the step that draws new noise (diffusers: stochastic_sampling) gives
SNR_next sigma^2 |dv|^2, since it forgets what x told about x_0. The last step, to sigma = 0, has no variance in either.

The oracle is diffusers' own step function: two predictions, the same x and the same noise give the difference of the
means, two noises give sigma, and the regression on the noise must leave nothing.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
import sympy
from sympy import Expr

from theory.theorem import Comparison, Theorem, TheoremError

_BETAS = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2  # Stable Diffusion's
_ABAR = np.cumprod(1 - _BETAS)
_SHAPE = (1, 4, 16, 16)


@dataclass(frozen=True)
class Step:
    """A scheduler of diffusers with its options, and what the network predicts."""

    scheduler: str
    prediction: str
    options: tuple[tuple[str, Any], ...] = ()
    step_options: tuple[tuple[str, Any], ...] = ()

    @property
    def spec(self) -> str:
        """Scheduler, variance or eta, and prediction."""
        extra = "".join(f":{value}" for _, value in (*self.options, *self.step_options))
        return f"{self.scheduler}{extra}:{self.prediction}"

    def build(self, steps: int) -> Any:
        """Return the scheduler with its time steps set."""
        import diffusers

        options = dict(self.options)
        if self.scheduler != "FlowMatchEulerDiscrete":
            options |= {"prediction_type": self.prediction, "beta_schedule": "scaled_linear"}
            options |= {"beta_start": 0.00085, "beta_end": 0.012, "num_train_timesteps": 1000}
        if self.scheduler in ("DDPM", "DDIM"):
            options |= {"clip_sample": False}
        if self.scheduler == "DDIM":
            options |= {"set_alpha_to_one": False}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # diffusers hands tensors to NumPy in an old way
            scheduler = getattr(diffusers, f"{self.scheduler}Scheduler")(**options)
            scheduler.set_timesteps(steps)
        return scheduler


def _steps() -> tuple[Step, ...]:
    """All combinations; raises TheoremError without diffusers, the oracle."""
    if find_spec("diffusers") is None:
        raise TheoremError("reverse_step needs diffusers as its oracle: pip install 'fdiv-unlearning[harness]'")
    predictions = ("epsilon", "v_prediction", "sample")
    small, large = (("variance_type", "fixed_small"),), (("variance_type", "fixed_large"),)
    return (
        *(Step("DDPM", prediction, variance) for variance in (small, large) for prediction in predictions),
        *(Step("DDIM", prediction, (), (("eta", 1.0),)) for prediction in predictions),
        *(Step("EulerAncestralDiscrete", prediction) for prediction in predictions[:2]),
        Step("FlowMatchEulerDiscrete", "velocity"),
        Step("FlowMatchEulerDiscrete", "velocity", (("stochastic_sampling", True),)),
    )


def measured(step: Step, steps: int, index: int) -> tuple[float, float, float]:
    """Drive the scheduler: |mean_P - mean_Q|^2 per unit of squared difference of predictions, sigma^2, what is left."""
    import torch

    def draw(seed: int) -> Any:
        dtype = torch.float32 if step.scheduler.startswith("FlowMatch") else torch.float64
        return torch.randn(_SHAPE, generator=torch.Generator().manual_seed(seed), dtype=dtype)

    x, prediction_p, prediction_q = draw(1), draw(2), draw(3)

    def advance(prediction: Any, seed: int) -> Any:
        torch.manual_seed(seed)  # the flow-matching step draws from the global generator
        scheduler = step.build(steps)
        t, generator = scheduler.timesteps[index], torch.Generator().manual_seed(seed)
        if hasattr(scheduler, "scale_model_input"):
            scheduler.scale_model_input(x, t)
        return scheduler.step(prediction, t, x, generator=generator, **dict(step.step_options)).prev_sample.double()

    # one x and one noise: what differs is the mean alone; two noises: what differs is sigma times theirs
    moved = advance(prediction_p, 4) - advance(prediction_q, 4)
    slope = float(moved.square().sum() / (prediction_p - prediction_q).double().square().sum())
    spread, noise = advance(prediction_p, 5) - advance(prediction_p, 6), (draw(5) - draw(6)).double()
    sigma = float((spread * noise).sum() / noise.square().sum())
    left = float((spread - sigma * noise).abs().max() / max(float(spread.abs().max()), 1e-30))
    return slope, sigma**2, left


def signal_to_noise(step: Step, t: float) -> float:
    """SNR at a time step, from the betas alone."""
    if step.scheduler.startswith("FlowMatch"):
        return (1 - t / 1000) ** 2 / (t / 1000) ** 2
    if step.scheduler.startswith("Euler"):  # whose sigmas are interpolated between the 1000 steps
        return float(np.interp(t, np.arange(1000), np.sqrt((1 - _ABAR) / _ABAR))) ** -2
    return float(_ABAR[int(t)] / (1 - _ABAR[int(t)]))


def stated(step: Step, t: float, before: float) -> float:
    """s / |prediction_P - prediction_Q|^2 of the step from t to `before`."""
    snr, gained = signal_to_noise(step, t), signal_to_noise(step, before) - signal_to_noise(step, t)
    image = {"sample": 1.0, "epsilon": 1 / snr, "v_prediction": 1 / (1 + snr), "velocity": (t / 1000) ** 2}
    if ("variance_type", "fixed_large") in step.options:
        gained *= (1 + snr) / (1 + signal_to_noise(step, before))  # (1 - abar_prev) / (1 - abar_t)
    if ("stochastic_sampling", True) in step.options:
        gained = signal_to_noise(step, before)
    return gained * image[step.prediction]


def posterior_gain(sigma: float, after: float) -> float:
    """s / |dx_0|^2 of q(x_after | x_sigma, x_0) on the flow-matching path, by conditioning the joint Gaussian."""
    # x = a x_0 + b e at both times. q(x | x_0) is a Gaussian pair with variances b^2 and, as x = (a/a_after) x_after +
    # fresh noise, covariance (a/a_after) b_after^2; conditioning on x leaves x_0 the factor a_after - regression a
    (a, b), (a_after, b_after) = (1 - sigma, sigma), (1 - after, after)
    covariance = np.array([[b_after**2, a / a_after * b_after**2], [a / a_after * b_after**2, b**2]])
    regression = covariance[0, 1] / covariance[1, 1]
    return float((a_after - regression * a) ** 2 / (covariance[0, 0] - regression * covariance[0, 1]))


def _comparisons(step: Step) -> Iterator[Comparison]:
    for steps, index in ((50, 3), (50, 25), (50, 46), (200, 150)):
        times = [float(t) for t in step.build(steps).timesteps]
        t = times[index]
        # DDPM and DDIM step back by a constant, whatever the next time step is
        before = t - 1000 // steps if step.scheduler in ("DDPM", "DDIM") else times[index + 1]
        slope, variance, left = measured(step, steps, index)
        where = f"{steps} steps, t={t:g}"
        yield Comparison(f"{where}: the noise is sigma z", 1 + left, 1.0, "equal", 1e-4)
        if step.scheduler.startswith("FlowMatch") and not step.options:
            yield Comparison(f"{where}: variance", variance, 0.0, "equal", 0.0)
            yield Comparison(f"{where}: |d mean|^2/|dv|^2", slope, ((before - t) / 1000) ** 2, "equal", 1e-4)
            gain = signal_to_noise(step, before) - signal_to_noise(step, t)
            yield Comparison(
                f"{where}: the path's posterior", posterior_gain(t / 1000, before / 1000), gain, "equal", 1e-9
            )
        else:
            yield Comparison(where, slope / variance, stated(step, t, before), "equal", 2e-4)


def _identities(step: Step) -> Iterator[Expr]:
    """s / |dx_0|^2 - (SNR_prev - SNR_t), from the step's mean and variance as the scheduler's authors write them."""
    now, before = sympy.symbols("now before", positive=True)  # abar_t and abar_prev, or the two sigmas
    if step.scheduler == "DDPM":  # Ho et al., equations 7 and 11, epsilon written through x_0
        alpha, large = now / before, ("variance_type", "fixed_large") in step.options
        slope = (1 - alpha) / sympy.sqrt(alpha * (1 - now)) * sympy.sqrt(now / (1 - now))
        share = (1 - before) / (1 - now)
        variance = (1 - alpha) * (1 if large else share)
        yield slope**2 / variance - (before / (1 - before) - now / (1 - now)) * (share if large else 1)
    if step.scheduler == "EulerAncestralDiscrete":
        up = before**2 * (now**2 - before**2) / now**2
        down = before**2 / now  # sqrt(before^2 - up)
        yield (1 - down / now) ** 2 / up - (1 / before**2 - 1 / now**2)


THEOREM = Theorem(
    number=2,
    name="reverse_step",
    title="From the reverse step to s",
    statement=r"s = (\mathrm{SNR}_{prev} - \mathrm{SNR}_t)\, \|\Delta \hat x_0\|^2, \qquad \|\Delta \hat x_0\|^2 ="
    r" \frac{\|\Delta\hat\epsilon\|^2}{\mathrm{SNR}_t} = (1 - \bar\alpha_t) \|\Delta\hat v\|^2; \quad"
    r" \text{variance } \beta_t: \times \tfrac{1 - \bar\alpha_{prev}}{1 - \bar\alpha_t}; \quad"
    r" \text{flow matching: } \|\Delta \hat x_0\|^2 = \sigma^2 \|\Delta \hat v\|^2",
    hypotheses=(
        "both models step from one x_t with one variance > 0, without clipping or thresholding",
        "a deterministic step (flow matching's Euler step) has no s; it needs a Gaussian path to be named",
    ),
    reference="Ho et al. arXiv:2006.11239, equations 7 and 11; Kingma et al. arXiv:2107.00630 for the SNR form;"
    " Lipman et al. arXiv:2210.02747 for the path; the oracle is diffusers",
    applies=lambda step: True,
    comparisons=_comparisons,
    identities=_identities,
    universe=_steps,
)
