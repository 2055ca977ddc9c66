"""A limit on the computing time of one call: SymPy may take minutes over a generator that a stranger typed.

The time is the thread's own processor time where the system tells it, so that a busy machine refuses nothing that
an idle one accepts.
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable
from typing import TypeVar

_Result = TypeVar("_Result")
_POLL = 0.05
_AGAIN = 1.0  # library code may swallow the first interruption


class OutOfTime(BaseException):  # not an Exception: no `except Exception` on the way may keep it
    """The call used up its time; raised inside the function that `within` runs."""


def within(seconds: float, function: Callable[[], _Result]) -> _Result:
    """Return function(), interrupted by `OutOfTime` after that many seconds of this thread's processor time.

    Only Python code can be interrupted; one long call into a C library is not.
    """
    thread, clock = threading.get_ident(), _clock()
    done, lock = threading.Event(), threading.Lock()
    end = clock() + seconds

    def watch() -> None:
        while not done.wait(_POLL):
            if clock() > end:
                with lock:
                    if not done.is_set():
                        _raise_in(thread, ctypes.py_object(OutOfTime))
                done.wait(_AGAIN)

    watcher = threading.Thread(target=watch, name="fdiv deadline", daemon=True)
    watcher.start()
    try:
        return function()
    finally:
        done.set()
        with lock:  # an interruption under way is then complete
            _raise_in(thread, None)  # and withdrawn, if it came too late
        watcher.join()


def _clock() -> Callable[[], float]:
    """Return the processor time of the calling thread, readable from any thread, or else the wall's."""
    if hasattr(time, "pthread_getcpuclockid"):
        identity = time.pthread_getcpuclockid(threading.get_ident())
        return lambda: time.clock_gettime(identity)
    return time.monotonic


def _raise_in(thread: int, error: ctypes.py_object[type[OutOfTime]] | None) -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), error)
