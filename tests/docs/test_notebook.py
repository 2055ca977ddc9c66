"""The notebook runs from its first cell to its last, and comes without what one machine made of it."""

import json
import re
from pathlib import Path

from PIL import Image

from harness import prepare
from harness.erasure import erase

NOTEBOOK = Path(__file__).parents[2] / "docs" / "first-erasure.ipynb"
FEWER = {"latents": 8, "sampling_steps": 1, "adversary_every": 0, "relearning_steps": 0}


def _cells():
    return [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]


def _shown(source, names):
    """Run a cell; returns what a notebook shows below it, its last line's value."""
    *before, last = re.split(r"\n(?=\S)", source)
    if re.match(r"[\w.]+ = |import |print\(|def ", last):
        before, last = [*before, last], "None"
    exec("\n".join(before), names)
    return eval(last, names)


def test_it_is_kept_without_outputs_and_begins_with_the_installation():
    cells = _cells()
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)
    assert "".join(cells[0]["source"]) == '%pip install -q -c ../constraints.txt "..[harness]"'
    assert (NOTEBOOK.parent / ".." / "constraints.txt").is_file()


def test_every_link_of_it_exists():
    links = re.findall(r"\]\((?!https?:)([^)]+)\)", NOTEBOOK.read_text())
    assert links
    assert [link for link in links if not (NOTEBOOK.parent / link).exists()] == []


def test_it_runs_from_the_model_to_the_report(tmp_path, monkeypatch, capsys):
    """With two steps, few samples, no adversary and a ninth of the panel; all else is the notebook's."""
    whole, options_of = prepare.panel, erase.options_of
    monkeypatch.setattr(prepare, "panel", lambda *given: whole(*given).every(9)[1])
    monkeypatch.setattr(erase, "options_of", lambda given, *rest: options_of(given | FEWER, *rest))
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    sources = ["".join(cell["source"]) for cell in _cells()[1:]]
    assert sum(source.startswith("steps = 300\n") for source in sources) == 1
    shown = [_shown(source.replace("steps = 300", "steps = 2"), names) for source in sources]
    before, _, after, _, sheet, strengths, report = shown
    assert all(isinstance(each, Image.Image) for each in (before, after, sheet, strengths))
    assert before.size == (4 * 128, 128)
    assert before.tobytes() != after.tobytes()
    back, half, whole_again = (strengths.crop((0, 128 * row, 512, 128 * (row + 1))) for row in range(3))
    assert back.tobytes() == before.tobytes()
    assert whole_again.tobytes() == after.tobytes()
    assert half.tobytes() not in (before.tobytes(), after.tobytes())
    assert names["erased"].steps[-1]["step"] == 2
    assert report.read_text().count("data:image") > 10
    assert "unlearning accuracy" in capsys.readouterr().out
