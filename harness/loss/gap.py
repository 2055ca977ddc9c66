"""Both predictions of a step: how far the trained model's reverse step is from the one it is led to, and held to.

At x_t made of the anchor's pictures P is the frozen model on the anchor's prompt. At x_t made of the target's it cannot
be: where x_t shows the target a frozen network finishes it whatever it is told. There P leads to the picture's
counterparts, the same picture with something retained in its place, each as far as it is likely behind x_t. That is the
best prediction of whoever knows these pictures and not the target's (theory's `finite_pictures`); an x_t may come of
many pictures, and the mean over them is what a model would predict that was trained without the target (`retraining`).
"""

from torch import Tensor

from harness.data.batches import Batch
from harness.loss.scale import Scale
from harness.models.denoiser import Denoiser
from harness.models.family import Conditioning
from harness.models.path import GaussianPath


def difference(denoiser: Denoiser, scale: Scale, batch: Batch) -> Tensor:
    """(mu_Q - mu_P) / sigma of a batch, (n, c, h, w), with the trained prediction's graph.

    Of a batch whose rows all erase.
    """
    path, noisy, timesteps = scale.path, batch.noisy, batch.timesteps
    if batch.counterparts is None:
        noise_p = _frozen_noise(denoiser, path, batch)
    else:
        clean = path.posterior_mean(batch.counterparts, noisy, timesteps)
        noise_p = path.noise_between(clean, noisy, timesteps)
    return scale.difference(noise_p, _trained_noise(denoiser, path, batch), timesteps)


def relative_drift(denoiser: Denoiser, path: GaussianPath, batch: Batch, usual: float) -> Tensor:
    """|eps_Q - eps_P|^2 / sqrt(e u) of each row that retains, (n,), e = |eps_P - eps|^2 being P's own error in it.

    The noise eps is known. At high noise, where colours and places are decided, a model errs by a fiftieth of what it
    errs by at low noise. Over u alone the drift there counts for nothing, over e alone it is all that counts.

    Args:
        denoiser: both models.
        path: that noise was put along.
        batch: whose rows all retain.
        usual: u, the mean of e.
    """
    noise_p = _frozen_noise(denoiser, path, batch)
    drift = squared_distance(_trained_noise(denoiser, path, batch) - noise_p)
    return drift / (squared_distance(noise_p - batch.noise) * usual).sqrt()


def own_error(denoiser: Denoiser, path: GaussianPath, batch: Batch) -> Tensor:
    """|eps_P - eps|^2 of each row that retains, (n,): how far the frozen prediction is from the noise."""
    return squared_distance(_frozen_noise(denoiser, path, batch) - batch.noise)


def _frozen_noise(denoiser: Denoiser, path: GaussianPath, batch: Batch) -> Tensor:
    """The noise that the frozen model predicts, (n, c, h, w), with guidance on the anchor."""
    return path.noise_prediction(_frozen_prediction(denoiser, batch), batch.noisy, batch.timesteps)


def _trained_noise(denoiser: Denoiser, path: GaussianPath, batch: Batch) -> Tensor:
    """The noise that the trained model predicts, (n, c, h, w)."""
    return path.noise_prediction(denoiser(batch.noisy, batch.timesteps, batch.trained), batch.noisy, batch.timesteps)


def _frozen_prediction(denoiser: Denoiser, batch: Batch) -> Tensor:
    """The frozen model's raw output, (n, c, h, w), with guidance on the anchor where a row erases.

    Guided by g it is e(nothing) + g (e(anchor) - e(nothing)); within another concept, of which the trained model is
    told, it begins at e(that concept) instead of the first e(nothing), as ESD has it (2303.07345, its `erase_from`).
    """
    frozen = denoiser.frozen_denoiser(batch.noisy, batch.timesteps, batch.frozen)
    if batch.guidance == 1:
        return frozen
    nothing = Conditioning.cat([batch.unconditional] * len(batch.frozen))
    base = denoiser.frozen_denoiser(batch.noisy, batch.timesteps, nothing)
    start = denoiser.frozen_denoiser(batch.noisy, batch.timesteps, batch.trained) if batch.within else base
    return start + batch.guidance * (frozen - base)


def squared_distance(difference: Tensor) -> Tensor:
    """The s of each sample, (n,), from differences (n, c, h, w) in units of sigma."""
    return difference.float().square().flatten(1).sum(1)
