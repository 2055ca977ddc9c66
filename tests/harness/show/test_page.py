"""The report page: one file, nothing outside it, and in a browser it is as wide as the screen."""

import json
import re
import shutil
import subprocess

import pytest
import torch

from harness.judging.panel import Panel, Row
from harness.judging.result import Outcome, Point, Rate, Result
from harness.show.page import Seen, write_page

BROWSER = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
METRIC = {"erased": 1.0, "original": 0.0, "oracle": None, "interval": [0.9, 1.0]}
RATE = {"excess": None, "interval": None, "original": 1.0, "erased": 0.5, "oracle": None, "setting": {"from": 0.5}}


@pytest.fixture
def page(tmp_path):
    """One with a name that would break it if it were not escaped, an attack and no oracle."""
    rows = (Row("a <b>star</b>", "<star>", {}), Row("a moon", "moon", {}))
    pictures = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    result = Result(Rate(1, 2), pictures)
    point = Point({"from": 0.5}, {"original": result, "erased": result})
    seen = Seen(
        Panel(rows, 1), {"original": pictures, "erased": pictures, "oracle": None},
        {"completion": {"<star>": Outcome(point, (point,), {"half_way": {"original": -0.25, "erased": None}})}},
    )  # fmt: skip
    content = {
        "unlearning_accuracy": METRIC, "attacks": {"completion": RATE | {"cost": {"forwards": 1234}}},
        "retained": {"moon": {"in_domain": {"value": 0.875, "interval": [0.5, 1.0]}}},
        "forgetting_gap": None, "collateral_gap": None, "verdict": "Erased by <name>.",
    }  # fmt: skip
    write_page(tmp_path / "report.html", 'What of "<star>"?', content, seen)
    return tmp_path / "report.html"


def test_it_says_what_was_found_and_escapes_what_users_typed(page):
    text = page.read_text()
    assert "Erased by &lt;name&gt;." in text
    assert "<star>" not in text
    assert "<b>star" not in text
    assert "there is no oracle, so there is no zero point" in text
    assert "1,234" in text
    assert "0.875" in text
    assert "half way: original -0.25, erased never" in text
    assert text.count("<circle") == 2


def test_it_needs_nothing_from_elsewhere(page):
    text = page.read_text()
    assert re.findall(r'(?:src|href)="(?!data:)', text) == []
    assert "<script" not in text
    assert "url(" not in text
    assert not list(page.parent.glob("*.part"))


@pytest.mark.browser
@pytest.mark.skipif(BROWSER is None, reason="needs Chromium")
@pytest.mark.parametrize("width", [500, 1200])
def test_a_browser_shows_every_picture_and_nothing_sticks_out(page, tmp_path, width):
    probe = (
        "<script>addEventListener('load', () => document.title = JSON.stringify({"
        "wide: document.documentElement.scrollWidth > innerWidth,"
        "broken: [...document.images].filter(i => !i.naturalWidth).length, images: document.images.length}))</script>"
    )
    page.write_text(page.read_text().replace("</body>", f"{probe}</body>"))
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
    done = subprocess.run(
        [str(BROWSER), *flags, f"--user-data-dir={tmp_path / 'user'}", f"--window-size={width},900",
         "--virtual-time-budget=2000", "--dump-dom", page.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    found = json.loads(re.search(r"<title>(\{.*?\})</title>", done.stdout)[1].replace("&quot;", '"'))
    assert found == {"wide": False, "broken": 0, "images": 8}
