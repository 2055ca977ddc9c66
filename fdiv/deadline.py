"""Limits on the computing time and memory of one call: SymPy may take minutes over a generator that a stranger typed.

The time is the thread's own processor time where the system tells it, so that a busy machine refuses nothing that
an idle one accepts, and it is counted in seconds of a modern core: a known computation says how much slower this one
is, so that a slow machine refuses nothing that a fast one accepts. A shared machine's pace changes by half from one
second to the next, so it is taken again and again while a call works.
"""

from __future__ import annotations

import ctypes
import math
import statistics
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import TypeVar

_Result = TypeVar("_Result")
_POLL = 0.05
_SELDOM = 4  # polls between two looks at the memory, so that quick calls open no file
_AGAIN = 1.0  # library code may swallow the first interruption
_KNOWN = 0.0024  # seconds that the known computation takes on a modern core (2.6 GHz, CPython 3.11)
_FASTEST, _SLOWEST = 0.5, 20.0  # a pace beyond is a broken clock
_PACED = 10  # polls between two takes of the pace, half a second, of which a take is less than a hundredth
_takes: deque[float] = deque(maxlen=15)  # seconds that the known computation took of late
MOST_GROWTH = 600  # MiB that a call may add to the process
_RESIDENT = Path("/proc/self/statm")


class OutOfTime(BaseException):  # not an Exception: no `except Exception` on the way may keep it
    """The call used up its time; raised inside the function that `within` runs."""


class OutOfMemory(OutOfTime):
    """The call used up its memory; raised inside the function that `within` runs."""


class _Withdrawn(BaseException):
    """Takes the place of an interruption that may not have been delivered."""


def within(seconds: float, function: Callable[[], _Result]) -> _Result:
    """Return function(), interrupted by `OutOfTime` or `OutOfMemory` where it takes too much.

    Only Python code can be interrupted; one long call into a C library is not. Memory is watched where /proc tells it.

    Args:
        seconds: processor time of this thread, as a modern core takes it.
        function: what is to be computed.
    """
    thread, clock = threading.get_ident(), _clock()
    done, raised, lock = threading.Event(), threading.Event(), threading.Lock()
    start = clock()

    def watch() -> None:
        most = math.inf
        for look in count(1):
            if done.wait(_POLL):
                return
            held = _resident() if look % _SELDOM == 0 else 0.0
            most = min(most, held + MOST_GROWTH) if held else most
            if look % _PACED == 0:
                _take()
            spent = OutOfTime if clock() - start > seconds * pace() else OutOfMemory if held > most else None
            if spent is not None:
                with lock:
                    if not done.is_set():
                        raised.set()
                        _raise_in(thread, spent)
                done.wait(_AGAIN)

    watcher = threading.Thread(target=watch, name="fdiv deadline", daemon=True)
    watcher.start()
    try:
        return function()
    finally:
        done.set()
        with lock:  # an interruption under way is then complete
            pass
        watcher.join()
        if raised.is_set():
            _withdraw(thread)


def pace() -> float:
    """Return how many times slower than a modern core this one is of late: the median take of a known computation."""
    while len(_takes) < 3:
        _take()
    return min(max(statistics.median(_takes) / _KNOWN, _FASTEST), _SLOWEST)


def _take() -> None:
    """Time the known computation once, in processor time of the thread that calls."""
    clock = _clock()
    start = clock()
    sorted(hash((str(i), i * i)) for i in range(8_000))
    _takes.append(clock() - start)


def _resident() -> float:
    """Return the memory of this process in MiB, 0 where it is not known."""
    try:
        return int(_RESIDENT.read_text().split()[1]) / 256  # pages of 4 KiB
    except (OSError, ValueError, IndexError):
        return 0.0


def _clock() -> Callable[[], float]:
    """Return the processor time of the calling thread, readable from any thread, or else the wall's."""
    if hasattr(time, "pthread_getcpuclockid"):
        identity = time.pthread_getcpuclockid(threading.get_ident())
        return lambda: time.clock_gettime(identity)
    return time.monotonic


def _raise_in(thread: int, error: type[BaseException]) -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(error))


def _withdraw(thread: int) -> None:
    """Replace an interruption that came too late, and receive what replaced it.

    Setting none at all would leave CPython's flag up, with which a profiler of CPython 3.11 runs in circles.
    """
    with suppress(_Withdrawn):
        _raise_in(thread, _Withdrawn)
        while True:
            time.sleep(0)
