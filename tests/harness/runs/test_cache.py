"""Samples kept on disk: those that were kept or none, whatever happens to their files."""

import os
import subprocess
import sys

import pytest
import torch

from harness.runs import cache

KEY, OTHER = "a" * 64, "b" * 64


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """The folder of a cache of this test's own."""
    monkeypatch.setenv("FDIV_CACHE", str(tmp_path))
    return tmp_path / "samples"


def samples(seed=0):
    return torch.randn(3, 4, generator=torch.Generator().manual_seed(seed))


def only_file(place):
    (path,) = place.iterdir()
    return path


def test_samples_come_back_bit_for_bit_under_their_key_alone(place):
    strange = torch.tensor([0.0, -0.0, float("inf"), float("nan"), 1e-45, 1 / 3])
    assert cache.load(KEY) is None
    cache.save(KEY, strange)
    assert cache.load(KEY).numpy().tobytes() == strange.numpy().tobytes()
    assert cache.load(OTHER) is None
    cache.save(OTHER, samples().transpose(0, 1))
    assert torch.equal(cache.load(OTHER), samples().T)
    cache.load(OTHER).zero_()  # what is read can be written to
    assert torch.equal(cache.load(OTHER), samples().T)


def test_only_this_user_may_read_or_write_them(place):
    cache.save(KEY, samples())
    assert place.stat().st_mode & 0o777 == 0o700
    assert only_file(place).stat().st_mode & 0o777 == 0o600


def _flip(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


DAMAGES = {
    "emptied": lambda path: path.write_bytes(b""),
    "cut off": lambda path: path.write_bytes(path.read_bytes()[:-4]),
    "a bit flipped": _flip,
    "not safetensors": lambda path: path.write_bytes(b"\x80\x04N."),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "a pipe": lambda path: (path.unlink(), os.mkfifo(path)),
    "under another key": lambda path: path.rename(path.with_name(path.name.replace(OTHER, KEY))),
    "written by anyone": lambda path: path.chmod(0o622),
    "too large": lambda path: os.truncate(path, cache.LARGEST + 1),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_or_foreign_file_is_as_good_as_none_and_is_made_anew(place, damage):
    written = OTHER if damage == "under another key" else KEY
    cache.save(written, samples())
    DAMAGES[damage](only_file(place))
    assert cache.load(KEY) is None
    if damage != "a folder":  # which nobody's program puts there
        cache.save(KEY, samples(1))
        assert torch.equal(cache.load(KEY), samples(1))


def test_another_users_file_is_not_believed(place, monkeypatch):
    cache.save(KEY, samples())
    owner = only_file(place).stat().st_uid
    monkeypatch.setattr(os, "getuid", lambda: owner + 1)
    assert cache.load(KEY) is None


def test_the_files_used_last_longest_ago_go_first(place, monkeypatch):
    keys = [digit * 64 for digit in "0123"]
    for age, key in zip((40, 30, 20), keys, strict=False):
        cache.save(key, samples())
        (path,) = place.glob(f"{key}-*")
        os.utime(path, (path.stat().st_mtime - age,) * 2)
    assert cache.load(keys[0]) is not None  # used now
    monkeypatch.setattr(cache, "LARGEST", 3 * path.stat().st_size)
    cache.save(keys[3], samples())
    assert [cache.load(key) is not None for key in keys] == [True, False, True, True]
    assert sum(each.stat().st_size for each in place.iterdir()) <= cache.LARGEST


def test_samples_larger_than_all_the_room_are_not_kept(place, monkeypatch):
    monkeypatch.setattr(cache, "LARGEST", samples().nbytes - 1)
    cache.save(KEY, samples())
    assert not place.exists()


KILLED = """
import os, signal, torch
from harness.runs import cache

def half(tensors, path, metadata):
    path.write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)

cache.save_tensors = half
cache.save("a" * 64, torch.zeros(3))
"""


def test_a_killed_writer_leaves_nothing_that_is_read_and_nothing_for_long(place, monkeypatch):
    assert subprocess.run([sys.executable, "-c", KILLED]).returncode == -9
    assert only_file(place).read_bytes() == b"half"
    assert cache.load(KEY) is None
    cache.save(KEY, samples())
    assert len(list(place.iterdir())) == 2  # somebody may be at work on it
    monkeypatch.setattr(cache, "ABANDONED", -1)
    cache.save(OTHER, samples(1))
    assert {path.suffix for path in place.iterdir()} == {".safetensors"}
    assert torch.equal(cache.load(KEY), samples())
    assert torch.equal(cache.load(OTHER), samples(1))


def test_a_disk_that_is_full_or_cannot_be_written_is_no_error(place, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(cache, "save_tensors", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        cache.save(KEY, samples())
    assert list(place.iterdir()) == []
    place.rmdir()
    place.write_text("in the way")
    cache.save(KEY, samples())
    assert cache.load(KEY) is None


def test_an_empty_variable_turns_it_off(monkeypatch, tmp_path):
    monkeypatch.setenv("FDIV_CACHE", "")
    monkeypatch.chdir(tmp_path)
    assert cache.folder() is None
    cache.save(KEY, samples())
    assert cache.load(KEY) is None
    assert list(tmp_path.rglob("*")) == []
