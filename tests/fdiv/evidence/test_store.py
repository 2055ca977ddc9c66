"""Certificates on disk: found again, never from other sources, and no file can admit a wrong divergence."""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import fdiv
from fdiv.deadline import OutOfTime
from fdiv.evidence import certificate, store
from fdiv.evidence.certificate import Certificate, Judge
from fdiv.losses import GaussianLoss, VariationalLoss

NAMES = [judge.name for judge in certificate._FOUNDATIONS + certificate._CONSEQUENCES]
SOURCES = Path(fdiv.__file__).parent


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder for certificates; none is at hand before, and none that was made here afterwards."""
    monkeypatch.setenv("FDIV_CACHE", str(tmp_path))
    certificate.certify.cache_clear()
    yield tmp_path
    certificate.certify.cache_clear()


def fresh(divergence: fdiv.Divergence) -> Certificate:
    certificate.certify.cache_clear()
    return fdiv.certify(divergence)


def stored(cache: Path) -> Path:
    (path,) = cache.glob("*.json")
    return path


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the claims that are judged, in order."""
    names: list[str] = []
    judged = certificate._claim

    def spy(judge: Judge, *rest: Any) -> Any:
        names.append(judge.name)
        return judged(judge, *rest)

    monkeypatch.setattr(certificate, "_claim", spy)
    return names


def replaced(name: str, judge: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let another judge judge the claim of that name."""
    judges = (replace(known, judge=judge) if known.name == name else known for known in certificate._CONSEQUENCES)
    monkeypatch.setattr(certificate, "_CONSEQUENCES", tuple(judges))


def failing(name: str, error: type[BaseException], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Any:
        raise error("no more room")

    replaced(name, fail, monkeypatch)


def test_a_second_run_finds_only_the_foundations_anew(cache: Path, computed: list[str]) -> None:
    first = fresh(fdiv.divergence("kl"))
    assert computed == NAMES
    assert fresh(fdiv.divergence("kl")) == first
    assert computed == NAMES + NAMES[:4]
    json.loads(stored(cache).read_text())  # JSON, and nothing that runs
    if hasattr(os, "getuid"):
        assert not stat.S_IMODE(stored(cache).stat().st_mode) & 0o077


def damages() -> dict[str, Any]:
    def flipped(path: Path) -> None:
        data = json.loads(path.read_text())
        data["content"]["claims"][5]["evidence"] = "certified"
        path.write_text(json.dumps(data))

    return {
        "cut short": lambda path: path.write_text(path.read_text()[:100]),
        "empty": lambda path: path.write_bytes(b""),
        "bytes": lambda path: path.write_bytes(b"\x80\x04\x95" * 50),
        "deep": lambda path: path.write_text("[" * 100_000),
        "huge": lambda path: path.write_text(" " * (1 << 21)),
        "another shape": lambda path: path.write_text('{"key": 1}'),
        "a flipped word": flipped,
        "writable by others": lambda path: path.chmod(0o666),
        "a folder": lambda path: (path.unlink(), path.mkdir()),
    }


@pytest.mark.parametrize("kind", damages())
def test_a_damaged_file_is_as_good_as_none(cache: Path, kind: str) -> None:
    divergence = fdiv.divergence("kl")
    key, whole = store.key(divergence), fdiv.certify(divergence).to_dict()
    assert store.load(key) == whole
    damages()[kind](stored(cache))
    assert store.load(key) is None


def test_what_is_no_certificate_in_a_good_file_is_judged_anew(cache: Path, computed: list[str]) -> None:
    divergence = fdiv.divergence("kl")
    whole = fresh(divergence).to_dict()
    lacking = {**whole, "claims": whole["claims"][:-1]}
    optional = {**whole, "claims": [{**claim, "required": False} for claim in whole["claims"]]}
    other = {**whole, "fingerprint": "0" * 64}
    for forged in (lacking, optional, other, [], None, {"claims": 3}):
        store.save(store.key(divergence), forged)
        computed.clear()
        assert fresh(divergence).to_dict() == whole
        assert computed == NAMES


def test_what_the_kernel_does_not_confirm_of_a_good_file_is_judged_anew(cache: Path, computed: list[str]) -> None:
    """A file that calls all proved, one about another generator, and one without its statement."""
    divergence = fdiv.divergence("tv")
    whole = fresh(divergence).to_dict()
    assert fresh(divergence).claim("activation").evidence == "tested"
    proved = {**whole, "claims": [{**claim, "evidence": "proved"} for claim in whole["claims"]]}
    other = {**whole, "statement": {**whole["statement"], "generator": ["abs", ["+", "u", "-1"]]}}
    for forged in (proved, other, {**whole, "statement": {}}):
        store.save(store.key(divergence), forged)
        computed.clear()
        assert fresh(divergence).to_dict() == whole
        assert computed == NAMES


def test_a_good_file_cannot_say_more_than_the_kernels_bound(cache: Path, computed: list[str]) -> None:
    """That D(s) is proved where its error is bounded, that it is bounded by less, or what is no text."""
    divergence = fdiv.divergence("triangular")
    whole = fresh(divergence).to_dict()
    place = NAMES.index("D(s)")
    assert whole["claims"][place]["evidence"] == "certified"
    for change in (
        {"evidence": "proved"},
        {"reason": "the rule is within 1e-30"},
        {"reason": "\x1b[2J" + whole["claims"][place]["reason"]},
    ):
        claims = [{**claim, **(change if i == place else {})} for i, claim in enumerate(whole["claims"])]
        store.save(store.key(divergence), {**whole, "claims": claims})
        computed.clear()
        assert fresh(divergence).to_dict() == whole
        assert computed == NAMES


def test_other_divergences_sources_or_versions_have_another_key(monkeypatch: pytest.MonkeyPatch) -> None:
    divergence = fdiv.divergence("kl")
    keys = {store.key(divergence), store.key(fdiv.divergence("pearson"))}
    monkeypatch.setattr(store, "_sources", lambda: "other")
    keys.add(store.key(divergence))
    monkeypatch.setattr(store, "versions", lambda: (("sympy", "0"),))
    assert len({*keys, store.key(divergence)}) == 4


def test_a_change_in_any_file_of_any_folder_changes_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = shutil.copytree(SOURCES, tmp_path / "fdiv", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(store, "__file__", str(copy / "evidence" / "store.py"))
    files = sorted(copy.rglob("*.py"))
    assert len({path.parent for path in files}) >= 7
    digests = {store._sources.__wrapped__()}
    for path in files:
        path.write_text(path.read_text() + "\n")
        digests.add(store._sources.__wrapped__())
    assert len(digests) == len(files) + 1


def test_no_file_admits_a_wrong_divergence(cache: Path) -> None:
    """Forge a certificate that claims everything, under the right key and with the right digest."""
    wrong = fdiv.resolve("u*log(u)**2")
    forged = fdiv.certify(fdiv.divergence("kl")).to_dict()
    forged |= {"divergence": wrong.spec, "generator": str(wrong.generator)}
    forged["fingerprint"] = store.fingerprint(wrong.generator)
    store.save(store.key(wrong), forged)
    assert store.load(store.key(wrong)) is not None
    assert not fresh(wrong).accepted
    with pytest.raises(fdiv.Refused):
        fdiv.require(wrong)


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.write_text("")
    for place in (str(file / "inside"), "/proc/nowhere", ""):
        monkeypatch.setenv("FDIV_CACHE", place)
        store.save("k", {"claims": 1})
        assert store.load("k") is None
    monkeypatch.delenv("FDIV_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert store.folder() == tmp_path / "fdiv"


def test_the_folder_may_be_named_from_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("FDIV_CACHE", "~/kept")
    assert store.folder() == tmp_path / "kept"


def test_many_may_write_one_file_at_once(cache: Path) -> None:
    content = {"claims": ["proved"] * 1000}
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: store.save("k", content), range(64)))
        found = list(pool.map(lambda _: store.load("k"), range(64)))
    assert all(one == content for one in found)
    assert not list(cache.glob(".*tmp"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes in the file system here")
def test_a_pipe_at_the_place_of_a_certificate_is_not_waited_for(cache: Path) -> None:
    os.mkfifo(cache / "k.json")
    assert store.load("k") is None


def test_what_is_not_settled_in_time_is_open_refused_and_not_stored(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(*_: Any) -> Any:
        while True:
            sum(range(1000))

    monkeypatch.setattr(certificate, "_SECONDS", 0.0)
    replaced("limits", slow, monkeypatch)
    found = fresh(fdiv.resolve("u*log(u)*3"))
    assert not found.accepted
    assert found.gaussian == "unknown"
    assert found.objections[0].open
    assert "the last guard, 0 s of processor time" in found.objections[0].reason
    assert not list(cache.glob("*.json"))


@pytest.mark.parametrize("name", ["limits", "large s"])
def test_a_failure_of_one_run_is_not_kept_for_the_next(cache: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    with monkeypatch.context() as broken:
        failing(name, ValueError, broken)
        claim = fresh(fdiv.divergence("kl")).claim(name)
        assert claim.open
        assert claim.reason == "not derived: no more room"
        failing(name, MemoryError, broken)
        with pytest.raises(MemoryError):
            fresh(fdiv.divergence("kl"))
    assert not list(cache.glob("*.json"))
    assert fresh(fdiv.divergence("kl")).accepted
    assert stored(cache).is_file()


@pytest.mark.parametrize(
    ("name", "loss", "other"),
    [
        ("D(s)", GaussianLoss, VariationalLoss),
        ("w(s) = dD/ds >= 0", GaussianLoss, VariationalLoss),
        ("activation", VariationalLoss, GaussianLoss),
    ],
)
@pytest.mark.parametrize("error", [ValueError, OutOfTime])
def test_a_loss_that_time_left_unsettled_is_not_built_and_the_other_is(
    cache: Path, monkeypatch: pytest.MonkeyPatch, name: str, loss: type, other: type, error: type[BaseException]
) -> None:
    failing(name, error, monkeypatch)
    with pytest.raises(fdiv.Refused, match="limit of time or of this software, not of the divergence"):
        loss(fdiv.divergence("kl"))
    if error is ValueError:  # out of time, nothing later is settled either
        other(fdiv.divergence("kl"))
