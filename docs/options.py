"""Print the tables of docs/erasure.md, of presets and of options, from their sources: ``python docs/options.py``."""

import sys
from dataclasses import fields
from pathlib import Path
from typing import Literal, get_args, get_origin, get_type_hints

sys.path.insert(0, str(Path(__file__).parent.parent))

from harness.config import Config, flag_of, meanings
from harness.runs.command import flags_of_preset, presets


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


def recipes() -> str:
    """The presets as a Markdown table."""
    lines = ["| preset | for | rests on | sets | what no option says of it |", "|---|---|---|---|---|"]
    for name, recipe in presets().items():
        flags = " ".join(flags_of_preset(name))
        lines.append(f"| `{name}` | {recipe['for']} | {recipe['source']} | `{flags}` | {recipe['apart']} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(recipes(), table(), sep="\n\n")
