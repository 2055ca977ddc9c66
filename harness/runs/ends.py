"""How a command ends: by itself, by a signal or by an error, with an exit code and one line that says why."""

import os
import re
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from safetensors import SafetensorError

from harness.config import UsageError
from harness.runs import processes

SHORT_OF_MEMORY = (
    "what helps in another run: a lower --batch-size, --precision bf16, or --parameter-group cross-attention-kv"
)
SHORT_OF_DISK = "the disk is full, or a limit on files is reached: make room first"


def run_command(work: Callable[[], object]) -> int:
    """Do a command's work; returns its exit code, after a line on stderr that says why where that is not 0.

    1: refused by the divergence's certificate, or another process has gone. 2: input that cannot be used. 3: stopped
    by overflow (FloatingPointError). 4: disk or memory full. 130, 143: interrupted by SIGINT or SIGTERM. 141:
    whoever read its output has gone. Any other error is a bug and is raised. Of several processes that train together
    all end with what the first to fail says.
    """
    with processes.together():
        try:
            with on_signals(interrupt):
                work()
                sys.stdout.flush()
        except BrokenPipeError as error:
            gone = [stream for stream in (sys.stdout, sys.stderr) if _unread(stream)]
            if not gone:
                raise
            for stream in gone:
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            return processes.first_failure(f"stopped: {error}", 128 + signal.SIGPIPE)[1]
        except (Exception, Interrupted) as error:
            verdict, code = _verdict(error)
            if code == 0:
                raise
            line, code = processes.first_failure(f"{verdict}: {error}", code)
            line = "; ".join([line, *getattr(error, "__notes__", [])])
            print(" ".join(line.split()), file=sys.stderr)
            return code
    return 0


def _unread(stream: TextIO) -> bool:
    """Whether it is a pipe whose reader has gone."""
    poll = select.poll()
    poll.register(stream.fileno(), 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _verdict(error: BaseException) -> tuple[str, int]:
    """The word and the exit code for an error that a command may end with; a code of 0 for any other."""
    match error:
        case UsageError():
            return "error", 2
        case processes.LostError():
            return "stopped", 1
        case FloatingPointError():
            return "stopped", 3
        case Interrupted():
            return "interrupted", 128 + error.number
        case ValueError():
            return _verdict_of_fdiv(error)
        case RuntimeError():
            return _verdict_of_torch(error)
        case OSError() | SafetensorError():
            if re.search("no space left|quota exceeded|file too large", str(error), re.IGNORECASE):
                error.add_note(SHORT_OF_DISK)
                return "stopped", 4
    return "", 0


def _verdict_of_fdiv(error: ValueError) -> tuple[str, int]:
    import fdiv  # here, like torch below: an error of theirs comes only once they are imported, and they take seconds

    if isinstance(error, fdiv.Refused):
        return "refused", 1
    choices = (fdiv.UnknownDivergence, fdiv.ParameterError, fdiv.ExpressionError, fdiv.DivergenceFileError)
    return ("error", 2) if isinstance(error, choices) else ("", 0)


def _verdict_of_torch(error: RuntimeError) -> tuple[str, int]:
    import torch

    if not isinstance(error, torch.OutOfMemoryError):
        return "", 0
    error.add_note(SHORT_OF_MEMORY)
    return "stopped", 4


class Interrupted(KeyboardInterrupt):
    """SIGINT or SIGTERM."""

    def __init__(self, number: int) -> None:
        """Keep which of them."""
        super().__init__(f"by {signal.Signals(number).name}")
        self.number = number


@contextmanager
def on_signals(handler: Callable[[int], None]) -> Iterator[None]:
    """Have SIGINT and SIGTERM call `handler` with their number; only Python's main thread can ask for that."""
    numbers = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
    before = {each: signal.signal(each, lambda number, _: handler(number)) for each in numbers}
    try:
        yield
    finally:
        for each, old in before.items():
            signal.signal(each, old)


def interrupt(number: int) -> None:
    """End what is going on at once."""
    raise Interrupted(number)


@contextmanager
def between_steps() -> Iterator[Callable[[], bool]]:
    """Hold SIGINT and SIGTERM back; the first is raised at the end, a second one to the same process at once.

    Yields a function that says whether one came to any of the processes, to be called by all of them after a step.

    Raises:
        Interrupted: at the end, for the first.
    """
    here: list[int] = []
    anywhere: list[int] = []

    def came() -> bool:
        anywhere[:] = processes.gather_numbers(list(here))
        return bool(anywhere)

    def hold(number: int) -> None:
        here.append(number)
        if len(here) > 1:
            interrupt(number)

    with on_signals(hold):
        yield came
    if first := (anywhere or here)[:1]:
        interrupt(*first)
