"""Print the table of options in docs/erasure.md from the dataclass's own source: ``python docs/options.py``."""

import sys
from dataclasses import fields
from pathlib import Path
from typing import Literal, get_args, get_origin, get_type_hints

sys.path.insert(0, str(Path(__file__).parent.parent))

from harness.config import Config, flag_of, meanings


def table() -> str:
    """The options as a Markdown table."""
    defaults, hints = {field.name: field.default for field in fields(Config)}, get_type_hints(Config)
    lines = ["| option | default | meaning |", "|---|---|---|"]
    for name, meaning in meanings(Config).items():
        kinds = [kind for kind in (hints[name], *get_args(hints[name])) if get_origin(kind) is Literal]
        choices = ", ".join(f"`{each}`" for kind in kinds for each in get_args(kind))
        default = f"`{defaults[name]}`" if defaults[name] not in ("", None, ()) else ""
        lines.append(f"| `{flag_of(name)}` | {default} | {meaning + (f' ({choices})' if choices else '')} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
