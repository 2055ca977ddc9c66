"""Trackers hear what the run folder holds, in the main process alone."""

import json
import struct
import types
from typing import ClassVar

import pytest
import torch
from accelerate import tracking as theirs

from harness import unlearn
from harness.config import Config, UsageError, to_dict
from harness.runs import processes
from harness.runs.checkpoint import Saved, Store
from harness.show import tracking
from tests import tiny

FAST = ["--batch-size", "2", "--latents", "4", "--sampling-steps", "1", "--steps", "3", *tiny.UNOPPOSED]


class Fake:
    """A tracker as accelerate's are, which keeps what it is told."""

    requires_logging_directory = False
    every: ClassVar[list["Fake"]] = []

    def __init__(self, name, **options):
        self.name, self.options, self.told, self.ended = name, options, [], False
        Fake.every.append(self)

    def start(self):
        pass

    def store_init_configuration(self, values):
        self.configuration = values

    def log(self, values, step):
        self.told.append((step, values))

    def finish(self):
        self.ended = True


@pytest.fixture
def fake(monkeypatch):
    """Stands for wandb, as if that were installed."""
    monkeypatch.setitem(theirs.LOGGER_TYPE_TO_CLASS, "wandb", Fake)
    monkeypatch.setattr(tracking, "find_spec", lambda name: types.SimpleNamespace(origin="here"))
    monkeypatch.setattr(Fake, "every", [])
    return Fake.every


def test_the_trackers_are_those_of_accelerate():
    assert set(tracking.PACKAGES) == set(theirs.LOGGER_TYPE_TO_CLASS)


def _rows(run):
    return [json.loads(line) for line in (run / "steps.jsonl").read_text().splitlines()]


def test_a_tracker_is_told_every_row_and_the_final_metrics_and_no_folder_of_this_machine(judged, tmp_path, fake):
    flags = ["--model", str(judged), *FAST, "--track", "wandb", "--watch", "--evaluate-every", "2"]
    assert unlearn.main([*flags, "--output", str(tmp_path / "run")]) == 0
    (tracker,) = fake
    assert (tracker.name, tracker.options, tracker.ended) == ("fdiv-unlearning", {}, True)
    assert str(tmp_path) not in json.dumps(tracker.configuration)
    assert str(judged.parent) not in json.dumps(tracker.configuration)
    assert tracker.configuration["model"] == judged.name
    assert tracker.configuration["track"] == "wandb"
    assert set(tracker.configuration) == set(to_dict(Config()))
    *told, (last, end) = tracker.told
    rows = _rows(tmp_path / "run")
    assert [step for step, _ in told] == [row["step"] for row in rows] == [1, 2, 3]
    assert [values["s/50"] for _, values in told] == [row["s"][1] for row in rows]
    assert told[1][1]["measured/UA"] == rows[1]["measured"]["UA"]
    assert all(isinstance(value, int | float) for _, values in tracker.told for value in values.values())
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert (last, end["erased/unlearning_accuracy"]) == (3, metrics["unlearning_accuracy"]["erased"])


def test_a_run_that_goes_on_tells_the_rows_that_it_had(tmp_path):
    (tmp_path / "resume").mkdir()
    told = []
    store = Store(tmp_path, Config(), lambda step, row: told.append((step, row["s"])))
    store.save(2, Saved({"rows": [{"step": 1, "s": 5.0}, {"step": 2, "s": 4.0}]}, {"a": torch.zeros(1)}))
    assert told == []
    assert store.load() is not None
    assert told == [(1, 5.0), (2, 4.0)]


def test_none_but_the_main_process_begins_a_tracker(tmp_path, fake, monkeypatch):
    monkeypatch.setattr(processes, "is_main", lambda: False)
    with tracking.tracked(Config(track=("wandb",)), tmp_path) as tell:
        tell(1, {"s": 1.0})
    assert fake == []


def test_a_tracker_ends_with_a_run_that_fails_and_one_that_cannot_begin_is_an_error(tmp_path, fake, monkeypatch):
    with pytest.raises(ZeroDivisionError), tracking.tracked(Config(track=("wandb", "wandb")), tmp_path):
        1 / 0  # noqa: B018
    assert [each.ended for each in fake] == [True]
    monkeypatch.setattr(Fake, "start", lambda self: (_ for _ in ()).throw(RuntimeError("no account")))
    with pytest.raises(UsageError, match="--track wandb: cannot begin: no account"), \
            tracking.tracked(Config(track=("wandb",)), tmp_path):  # fmt: skip
        pytest.fail("begun")


@pytest.mark.parametrize(
    ("name", "message"),
    [("wombat", "--track 'wombat': no such tracker; choices: tensorboard, wandb"),
     ("tensorboard", "--track tensorboard: is not installed; pip install tensorboard or tensorboardX"),
     ("aim", "--track aim: is not installed; pip install aim$")],
)  # fmt: skip
def test_what_is_not_there_is_refused_before_any_work_and_says_what_to_install(name, message, monkeypatch):
    monkeypatch.setattr(tracking, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=message):
        tracking.check_trackers([name])


def test_a_folder_of_a_trackers_name_does_not_hide_that_it_is_missing(tmp_path, monkeypatch):
    (tmp_path / "aim").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UsageError, match="--track aim: is not installed"):
        tracking.check_trackers(["aim"])


def _events(folder):
    """The scalars in TensorBoard's files: records of a length, its checksum, the event and that of the event."""
    from tensorboardX.proto.event_pb2 import Event

    found = {}
    for file in sorted(folder.glob("events.*")):
        data = file.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            event, data = Event.FromString(data[12 : 12 + length]), data[16 + length :]
            found |= {(value.tag, event.step): value.simple_value for value in event.summary.value}
    return found


def test_tensorboard_has_the_rows_in_the_run_folder(judged, tmp_path):
    pytest.importorskip("tensorboardX")
    flags = ["--model", str(judged), *FAST, "--track", "tensorboard"]
    assert unlearn.main([*flags, "--output", str(tmp_path / "run")]) == 0
    found = _events(tmp_path / "run" / "trackers" / "fdiv-unlearning")
    for row in _rows(tmp_path / "run"):
        assert found["erase", row["step"]] == pytest.approx(row["erase"])
        assert found["s/90", row["step"]] == pytest.approx(row["s"][2])
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert found["erased/unlearning_accuracy", 3] == pytest.approx(metrics["unlearning_accuracy"]["erased"])
