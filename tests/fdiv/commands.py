"""Run the command line in this process."""

from __future__ import annotations

import contextlib
import io

from fdiv.__main__ import main


def run(*arguments: str) -> tuple[int, str, str]:
    """Return the exit code and what is written to stdout and stderr."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(arguments)
    return code, out.getvalue(), err.getvalue()
