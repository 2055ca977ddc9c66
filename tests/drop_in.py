"""A new file in a folder whose modules are found by being there: written elsewhere, put on the package's path."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module, invalidate_caches
from pathlib import Path


@contextmanager
def dropped_in(package: str, name: str, code: str, folder: Path) -> Iterator[None]:
    """Within this, the package has one module more.

    Args:
        package: dotted name of the folder.
        name: of the new module.
        code: its content.
        folder: where the file is written.
    """
    (folder / f"{name}.py").write_text(code)
    found = import_module(package)
    found.__path__.append(str(folder))
    invalidate_caches()
    try:
        yield
    finally:
        found.__path__.remove(str(folder))
        sys.modules.pop(f"{package}.{name}", None)
        vars(found).pop(name, None)
