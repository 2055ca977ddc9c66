"""Write the table of mutants into docs/mutation.md: ``python docs/mutation.py``."""

from __future__ import annotations

import re
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from tests.laws import mutation  # noqa: E402

START, END = "<!-- table -->\n", "\n<!-- end of table -->"
document = HERE / "mutation.md"
text = document.read_text()
found = re.sub(f"{START}.*{END}", lambda _: START + mutation.report() + END, text, flags=re.DOTALL)
document.write_text(found)
