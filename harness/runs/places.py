"""What others may read of the places that a run's options name.

A run folder is given to others as it is: zipped, committed, uploaded. So `run.json`, and whatever is made of it, has of
each path the last part alone. The whole ones, which `--continue`, evaluate and export need, lie beside it in
`local.json`; a `.gitignore` names that file, which git heeds and so do uploads of that very folder to the Hugging Face
hub. A path relative to the run folder would tell as much of this machine and end to be right where the folder is moved,
and the user's cache may be off or deleted. Without the file the user is asked where the model is; a digest tells the
right one.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.config import EMBEDDED, UsageError
from harness.runs.files import read_json, write_json

if TYPE_CHECKING:
    from fdiv import Divergence

LOCAL = "local.json"
READ = ("model", "prompts", "show", "concepts", "divergence", "continue_from", "start", "judge", "inception")
"""Options that may name something of this machine that a run reads."""
WRITTEN = ("output", "resume")
"""Options that name what it writes, which nobody has to find again by them."""
HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


def is_hub_id(model: str) -> bool:
    """Whether a model is named as on the hub, OWNER/NAME, and is no folder or file here."""
    return bool(HUB_ID.fullmatch(model)) and not Path(model).exists()


def public_name(place: str) -> str:
    """What others may read of where something is: its id on the hub, or the last part of its path."""
    return place if is_hub_id(place) else Path(place).name


def public_divergences(names: str) -> str:
    """The names of a run's divergences, those in a user's files without the folders."""
    parts = (name.rpartition(".py:") for name in names.split(", "))
    return ", ".join(f"{Path(file).name if mark else file}{mark}{rest}" for file, mark, rest in parts)


def public_specs(divergences: "Iterable[Divergence]") -> str:
    """The names of several divergences, each once."""
    return public_divergences(", ".join(dict.fromkeys(divergence.spec for divergence in divergences)))


def public(options: Mapping[str, Any]) -> dict[str, Any]:
    """A run's options, as JSON has them, for others to read."""
    return {name: _public(name, value) if value else value for name, value in options.items()}


def _public(name: str, value: Any) -> Any:
    if name == "divergence":
        return public_divergences(value)
    if name == "judge":
        kind, colon, place = value.partition(":")
        return f"{kind}{colon}{public_name(place)}"
    if name == "model":
        return public_name(value)
    return Path(value).name if name in READ + WRITTEN else value


def places(options: Mapping[str, Any]) -> dict[str, Any]:
    """Of a run's options those that name something of this machine to read, as they are."""
    shown = public(options)
    return {name: options[name] for name in READ if name in options and options[name] != shown[name]}


def keep(run: Path, found: Mapping[str, Any]) -> None:
    """Write what `places` found into a run folder, and that it is no one else's; nothing where it found none."""
    if found:
        write_json(run / LOCAL, dict(found))
        (run / ".gitignore").write_text(f"{LOCAL}\n")


def kept(run: Path) -> dict[str, Any]:
    """What `keep` wrote; nothing in a folder that was shared."""
    return read_json(run / LOCAL) if (run / LOCAL).is_file() else {}


def where_model_is(run: Path, model: str, flag: str) -> str:
    """Where the model of a finished run is, if it is there.

    Args:
        run: its folder, for the error.
        model: as the run's options have it.
        flag: that can name another place.

    Raises:
        UsageError: it is not, as after a move, or where the folder is someone else's and has the name alone.
    """
    if model not in EMBEDDED and not HUB_ID.fullmatch(model) and not (model and Path(model).exists()):
        named = f", {model}," if model else ""
        raise UsageError(f"{run}: its model{named} is not here; say with {flag} where it is")
    return model
