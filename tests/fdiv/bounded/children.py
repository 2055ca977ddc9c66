"""Run tasks each in a child of its own with limits, and measure them.

python tests/fdiv/bounded/children.py reads lines of JSON, [SECONDS, TASK, ARGUMENT, ...], and writes one line for each:
{"task", "code", "seconds", "mebibytes", "said"}. A TASK is a command of `python -m fdiv`, or one of `IN_PYTHON`.
`fdiv` is imported once, and the children are forked.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import fdiv
from fdiv.__main__ import main

_MOST_MEMORY = 3 << 30  # bytes of address space: more than is allowed, so that what takes too much is measured


def _between(text: str) -> int:
    divergence = fdiv.resolve(text)
    print(divergence.between([0.2, 0.8], [0.5, 0.5]), divergence(2.5))
    return 0


def _require(text: str) -> int:
    """What the trainer asks of its option --divergence."""
    divergence = fdiv.resolve(text)
    fdiv.require(divergence)
    print(divergence.activation.output, divergence.gaussian.kind)
    return 0


IN_PYTHON = {"between": _between, "require": _require}


def _run(task: str, arguments: list[str]) -> tuple[int, str]:
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            code = IN_PYTHON[task](*arguments) if task in IN_PYTHON else main([task, *arguments])
        except (ValueError, ArithmeticError) as error:
            print(error)
            code = 1
    return code, said.getvalue()


def _child(limit: float, task: str, arguments: list[str], into: int) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (int(limit), int(limit) + 1))
    resource.setrlimit(resource.RLIMIT_AS, (_MOST_MEMORY, _MOST_MEMORY))
    try:
        code, said = _run(task, arguments)
    except MemoryError:
        code, said = 99, "MemoryError"
    except BaseException as error:
        code, said = 98, f"{type(error).__name__}: {error}"
    os.write(into, said[-2000:].encode())
    os._exit(code)


def _serve() -> None:
    for line in sys.stdin:
        limit, task, *arguments = json.loads(line)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            _child(limit, task, arguments, writing)
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            said = pipe.read().decode(errors="replace")
        _, status, used = os.wait4(child, 0)
        seconds, mebibytes = round(used.ru_utime + used.ru_stime, 2), round(used.ru_maxrss / 1024)
        code = os.waitstatus_to_exitcode(status)
        found = {"task": [task, *arguments], "code": code, "seconds": seconds, "mebibytes": mebibytes, "said": said}
        print(json.dumps(found), flush=True)


def measured(tasks: Iterable[list[str]], limit: float) -> list[dict[str, Any]]:
    """Run each [TASK, ARGUMENT, ...] in a child of a fresh interpreter, with an empty store, and say what it took."""
    lines = "".join(json.dumps([limit, *task]) + "\n" for task in tasks)
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "FDIV_CACHE": "", "MPLCONFIGDIR": folder, "PYTHONPATH": os.getcwd()}
        command = [sys.executable, str(Path(__file__).resolve())]
        done = subprocess.run(command, input=lines, capture_output=True, text=True, env=environment, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


if __name__ == "__main__":
    _serve()
