"""The trainer: erases a concept from a Stable Diffusion UNet with a verified f-divergence.

    erased = harness.erase(pipe, target="Van Gogh", concept_type="style")   # a diffusers pipeline, in place

What stands here is imported once it is asked for, so that `import harness` needs no torch.
"""

import os

# Importing diffusers makes transformers warn that torchvision is missing, which FLUX.2 dev alone needs, and asks for.
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
# Torch's threads would else spin, on a whole core each, from one small layer to the next; the numbers are the same.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.config import UsageError as UsageError
    from harness.erasure.erase import erase as erase
    from harness.erasure.erased import Erased as Erased

if missing := [name for name in ("tyro", "torch", "diffusers") if find_spec(name) is None]:
    raise ImportError(f"harness needs {', '.join(missing)}: pip install 'fdiv-unlearning[harness]'; fdiv works without")

PLACES = {"erase": "harness.erasure.erase", "Erased": "harness.erasure.erased", "UsageError": "harness.config"}
__all__ = ["Erased", "UsageError", "erase"]


def __getattr__(name: str) -> Any:
    """Import what is asked for."""
    if name in PLACES:
        return getattr(import_module(PLACES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; choices: {', '.join(__all__)}")


def __dir__() -> list[str]:
    """What stands here, imported or not."""
    return sorted({*globals(), *PLACES})
