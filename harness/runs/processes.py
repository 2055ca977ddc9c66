"""Several processes that train one model, started by torchrun, or by accelerate's launcher, which uses it.

All draw the same global batch and each works on its share of the rows; shares are equal in training, so the mean over
processes of their means is the mean over the batch. Without a launcher there is one process, and nothing here does
anything. torch and accelerate are imported where several processes need them: commands begin without.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import torch
    from torch import Tensor, distributed

T = TypeVar("T")
LAST_WORDS = timedelta(seconds=60)
"""How long a process that fails waits for the main one to say why and save: launchers end all once one has gone."""
LONGEST_WAIT = timedelta(hours=24)
"""How long one waits for what another was dealt; of a large model an attack takes longer than torch would wait."""
_store: distributed.Store | None = None
"""The launcher's own; it outlives the process group, which breaks when a process goes."""
_alone = False
"""Whether this process works for itself now."""


class LostError(RuntimeError):
    """Another process has gone."""


def launched() -> int:
    """How many processes the launcher started; 1 without one."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def local_rank() -> int:
    """Which of this machine's processes this is, and so which of its GPUs it uses."""
    return int(os.environ.get("LOCAL_RANK", "0"))


@contextmanager
def together() -> Iterator[None]:
    """Let none but the main process print, and those that fail end after the main one has said why."""
    global _store
    if launched() == 1:
        yield
        return
    from torch import distributed

    _store, rank, _ = next(distributed.rendezvous("env://"))
    with ExitStack() as stack:
        if rank > 0:
            nowhere = stack.enter_context(open(os.devnull, "w"))
            stack.enter_context(redirect_stdout(nowhere))
            stack.enter_context(redirect_stderr(nowhere))
        try:
            yield
        except BaseException as error:
            first_failure(f"stopped: {type(error).__name__}: {error}", 1)
            raise
        finally:
            if distributed.is_initialized():
                distributed.destroy_process_group()  # those that wait for this one now see that it goes
            with suppress(RuntimeError):  # the store may have gone with the process that holds it
                if rank == 0:
                    _store.set("said", "")
                elif _store.check(["failure"]):
                    _store.wait(["said"], LAST_WORDS)


def first_failure(line: str, code: int) -> tuple[str, int]:
    """The message and the exit code of the process that failed first, with which all end; this one's, if it is."""
    with suppress(RuntimeError):
        if _store is not None:
            line, code = json.loads(_store.compare_set("failure", "", json.dumps([line, code])))
    return line, code


def join(device: torch.device) -> None:
    """Connect the processes, by NCCL where they train on GPUs, else by Gloo."""
    if launched() > 1:
        from accelerate import PartialState

        PartialState(cpu=device.type == "cpu", timeout=LONGEST_WAIT)


def count() -> int:
    """How many processes have joined; 1 without a launcher, and for one that works for itself."""
    if launched() == 1 or _alone:
        return 1
    from torch import distributed

    return distributed.get_world_size() if distributed.is_initialized() else 1


def is_main() -> bool:
    """Whether this is the process that writes."""
    if count() == 1:
        return True
    from torch import distributed

    return distributed.get_rank() == 0


@contextmanager
def _others() -> Iterator[None]:
    """Within this the processes exchange something: a RuntimeError means that one of them is not there."""
    try:
        yield
    except RuntimeError as error:
        import torch

        if isinstance(error, torch.OutOfMemoryError):
            raise
        raise LostError("another process has gone") from error


def share(rows: Any, padded: bool = False) -> Any:
    """This process's part of a tensor's or a list's rows, in the order of the processes, the first of them longest.

    Args:
        rows: the same in all processes.
        padded: of a list, repeat the last one in shorter shares, so that all are as long and none is empty.
    """
    if count() == 1:
        return rows
    from accelerate import PartialState

    with PartialState().split_between_processes(rows, apply_padding=padded) as mine:
        return mine


@_others()
def gather(rows: Tensor, total: int) -> Tensor:
    """All rows, in order, on the device of these, from what each process made of its padded share of `total`."""
    if count() == 1:
        return rows
    import torch
    from accelerate import PartialState
    from accelerate.utils import gather as gather_equal

    parts = gather_equal(rows.to(PartialState().device)).to(rows.device).split(len(rows))
    fewest, longer = divmod(total, count())
    return torch.cat([part[: fewest + (i < longer)] for i, part in enumerate(parts)])


@_others()
def mean(tensors: Sequence[Tensor]) -> Sequence[Tensor]:
    """Each tensor's mean over the processes, the same bits in all of them."""
    if count() == 1:
        return tensors
    from accelerate.utils import reduce

    return reduce(list(tensors), "mean")


@_others()
def gather_numbers(numbers: list[int]) -> list[int]:
    """The numbers of all processes, of which each may have any count."""
    if count() == 1:
        return numbers
    from accelerate.utils import gather_object

    return gather_object(numbers)


def on_main(make: Callable[[], T]) -> T:
    """What `make` gives in the main process, which alone calls it; the others wait."""
    if count() == 1:
        return make()
    from accelerate.utils import broadcast_object_list

    values = [make() if is_main() else None]
    with _others():
        broadcast_object_list(values)
    return values[0]  # type: ignore[return-value]


@contextmanager
def alone() -> Iterator[None]:
    """Within this, the process does all that it is asked to do, as if there were no other, and nothing is exchanged."""
    global _alone
    before, _alone = _alone, True
    try:
        yield
    finally:
        _alone = before


def by_main(make: Callable[[], T]) -> T:
    """What `make` gives, bit for bit, where there is one process; the main one makes it alone, the others wait."""

    def whole() -> T:
        with alone():
            return make()

    return on_main(whole)


def deal(tasks: Sequence[Callable[[], T]]) -> list[T]:
    """What each task gives, bit for bit, where there is one process; each does every so manieth alone, all get all."""
    if count() == 1:
        return [task() for task in tasks]
    from accelerate.utils import gather_object
    from torch import distributed

    mine, rank, others = [], distributed.get_rank(), count()
    for place in range(rank, len(tasks), others):
        with alone():
            mine.append((place, tasks[place]()))
    with _others():
        done = dict(gather_object(mine))
    return [done[place] for place in range(len(tasks))]
