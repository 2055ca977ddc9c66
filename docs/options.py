"""Print the table of options in docs/erasure.md from the dataclass's own source: ``python docs/options.py``."""

import ast
import inspect
import sys
from dataclasses import fields
from itertools import pairwise
from pathlib import Path
from typing import Literal, get_args, get_origin, get_type_hints

sys.path.insert(0, str(Path(__file__).parent.parent))

from harness.config import Config, flag_of


def table() -> str:
    """The options as a Markdown table; a field's meaning is the string literal that stands below it."""
    (body,) = [node.body for node in ast.walk(ast.parse(inspect.getsource(Config))) if isinstance(node, ast.ClassDef)]
    defaults, hints = {field.name: field.default for field in fields(Config)}, get_type_hints(Config)
    lines = ["| option | default | meaning |", "|---|---|---|"]
    for node, below in pairwise(body):
        if isinstance(node, ast.AnnAssign) and isinstance(below, ast.Expr):
            name, meaning = ast.unparse(node.target), ast.literal_eval(below.value)
            kinds = [kind for kind in (hints[name], *get_args(hints[name])) if get_origin(kind) is Literal]
            choices = ", ".join(f"`{each}`" for kind in kinds for each in get_args(kind))
            default = f"`{defaults[name]}`" if defaults[name] not in ("", None, ()) else ""
            text = " ".join(meaning.split()) + (f" ({choices})" if choices else "")
            lines.append(f"| `{flag_of(name)}` | {default} | {text} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
