"""Models and a finished run that many tests read, made once, and figures left out where nobody looks at them."""

import contextlib
import io

import pytest

from harness import unlearn
from harness.show import figures, sheet
from tests import judges, tiny

STAR_TO_CIRCLE = ["--target", "a star", "--anchor", "a circle"]


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """The folder of a tiny model without a vocabulary; not to be written to."""
    return tiny.folder(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def judged(tmp_path_factory):
    """The folder of a tiny model with a vocabulary and a judge; not to be written to."""
    return tiny.judged_folder(tmp_path_factory.mktemp("judged"))


@pytest.fixture
def drawn():
    """Asked for by tests that look at figures."""


@pytest.fixture(autouse=True)
def _blank_figures(request, monkeypatch):
    """Half of a tiny run's seconds are figures, which are left out where no test asks for them."""
    if "drawn" not in request.fixturenames:
        for module, name in ((sheet, "before_after"), (figures, "curves")):
            monkeypatch.setattr(module, name, lambda path, *_: path.write_bytes(b"left out"))


@pytest.fixture(scope="session")
def finished(model, tmp_path_factory):
    """The flags of a run of the command line, its folder, and what it printed on its last screen."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    flags = ["--model", str(model), *STAR_TO_CIRCLE, "--retain", "a moon", "a ring", "--save-pipeline"]
    flags += ["--steps", "25", "--batch-size", "2", "--latents", "4", "--sampling-steps", "2"]
    flags += ["--divergence", "squared_hellinger", "--parameter-group", "cross-attention-kv", *tiny.UNOPPOSED]
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert unlearn.main([*flags, "--output", str(folder)]) == 0
    return flags, folder, printed.getvalue()


@pytest.fixture(scope="session")
def clip(tmp_path_factory):
    """The folder of a tiny CLIP that knows a star, a circle and a moon."""
    return judges.clip_folder(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="session")
def classifier(tmp_path_factory):
    """The folder of a tiny classifier with the labels star, circle and moon."""
    return judges.classifier_folder(tmp_path_factory.mktemp("classifier"))
