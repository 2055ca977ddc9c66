"""Look a divergence up by a catalogue name, in a Python file, or read it from an expression in u.

`resolve` only finds the divergence; it certifies nothing. Whoever trains with the result asks `certificate.require`
first, wherever the divergence came from.
"""

from __future__ import annotations

import difflib
import re
import runpy
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from functools import cache
from pathlib import Path
from types import MappingProxyType

import sympy

from fdiv.between import joint_range as bounds
from fdiv.between.joint_range import Array, BestConstant
from fdiv.catalog import ALIASES, CATALOG
from fdiv.evidence import certificate
from fdiv.evidence.certificate import Certificate
from fdiv.exact.symbols import u
from fdiv.expression import from_expression
from fdiv.monotone import WRAPPERS
from fdiv.record import Divergence, ParameterError, Record, UnknownDivergence, custom

_IN_FILE = re.compile(r"(?P<path>.*\.py):(?P<name>[^:]*)(:(?P<parameters>.*))?", re.DOTALL)
_FRACTION = re.compile(r"[-+]?\d{1,18}/0*[1-9]\d{0,17}", re.ASCII)


class DivergenceFileError(ValueError):
    """A file.py:name cannot be read: no such file or name, a failure inside the file, or not a divergence."""


def names() -> tuple[str, ...]:
    """Return the catalogue's names in order."""
    return tuple(CATALOG)


def divergence(spec: str, **parameters: float) -> Divergence:
    """Look up ``NAME`` or ``NAME:param=value,param=value``; NAME may be an alias, and keywords may give parameters.

    Raises UnknownDivergence or ParameterError (both ValueError), with the choices and the mathematical
    reason.
    """
    given, _, tail = spec.partition(":")
    name = ALIASES.get(given, given)
    if name not in CATALOG:
        raise UnknownDivergence(unknown(name))
    return _shared(CATALOG[name].bind(read_parameters(name, tail, parameters)))


@cache
def _shared(bound: Divergence) -> Divergence:
    """Return one object for equal divergences, so that what is derived is derived once."""
    return bound


def resolve(text: str) -> Divergence:
    """Return the divergence that `text` names; its `spec` can be resolved again to an equal one.

    `text` is a catalogue name or alias with parameters (``kl``, ``alpha:a=0.3``), a record, divergence or SymPy
    expression in a Python file (``path/to/file.py:name``, which runs that file), or a generator
    (``u*log(u) - u + 1``). Raises UnknownDivergence, ParameterError, DivergenceFileError or ExpressionError, all of
    them ValueErrors.
    """
    text = text.strip()
    if found := _IN_FILE.fullmatch(text):
        return _from_file(found["path"], found["name"].strip(), found["parameters"] or "")
    if text.endswith(".py"):
        raise DivergenceFileError(f"{text}: name what it holds, as in {text}:my_divergence")
    # a lone word is meant as a name, so that a misspelt one is answered with the catalogue
    if text != "u" and text.partition(":")[0].strip().isidentifier():
        return divergence(text)
    return from_expression(text)


def certify(divergence: Divergence | str) -> Certificate:
    """Gather the evidence for a divergence, or for what `resolve` reads: a name, an expression or a file.

    Raises TypeError for anything else, and for a text what `resolve` raises; see `fdiv.evidence.certificate.certify`.
    """
    return certificate.certify(_resolved(divergence))


def require(divergence: Divergence | str, *names: str) -> None:
    """Raise `Refused` unless a divergence, or what `resolve` reads, is certified, with the claims of these `names`."""
    certificate.require(_resolved(divergence), *names)


def best_constant(f: Divergence | str, g: Divergence | str) -> BestConstant:
    """The least c with D_f <= c D_g, of divergences or what `resolve` takes; see `fdiv.between.joint_range`."""
    return bounds.best_constant(_resolved(f), _resolved(g))


def joint_range(f: Divergence | str, g: Divergence | str, size: int = 160) -> Array:
    """Corners of the joint range, of divergences or what `resolve` takes; see `fdiv.between.joint_range`."""
    return bounds.joint_range(_resolved(f), _resolved(g), size)


def _resolved(divergence: Divergence | str) -> Divergence:
    return resolve(divergence) if isinstance(divergence, str) else divergence


def _from_file(path: str, name: str, parameters: str) -> Divergence:
    try:
        present = Path(path).is_file()
    except (OSError, ValueError):  # a name too long, or with a null character
        present = False
    if not present:
        raise DivergenceFileError(f"{path}: no such file")
    try:
        module = runpy.run_path(path)
    except (Exception, SystemExit) as error:  # whatever a user's file raises is reported as that file's failure
        raise DivergenceFileError(f"{path} failed with {type(error).__name__}: {error}") from error
    if name not in module or name.startswith("__"):
        held = ", ".join(sorted(key for key, value in module.items() if _is_divergence(value))) or "none"
        raise DivergenceFileError(f"{path} has no {name!r}; the divergences in it: {held}")
    return _named(module[name], f"{path}:{name}", parameters)


def _is_divergence(value: object) -> bool:
    return isinstance(value, Record | Divergence) or (
        isinstance(value, sympy.Expr) and value != u and value.free_symbols == {u}
    )


def _named(value: object, spec: str, parameters: str) -> Divergence:
    """Return the divergence under the name by which it can be found again."""
    if isinstance(value, Divergence):
        value = replace(value.record, generator=value.generator, parameters=())
    if isinstance(value, Record):
        return replace(value, name=spec).bind(read_parameters(spec, parameters))
    if not isinstance(value, sympy.Expr):
        kind = type(value).__name__
        raise DivergenceFileError(f"{spec} is a {kind}, not a Record, a Divergence or a SymPy expression in fdiv.u")
    if parameters:
        raise ParameterError(f"{spec} is an expression and has no parameters; got {parameters!r}")
    foreign = value.free_symbols - {u}
    if foreign:
        names = ", ".join(sorted(map(str, foreign)))
        raise DivergenceFileError(f"{spec} must be a function of `from fdiv import u` alone, got also {names}")
    return custom(value, spec)


def unknown(name: str) -> str:
    """Say what a name that is not in the catalogue may have been meant for."""
    if not name.isidentifier():
        return (
            f"unknown divergence {name!r}: `fdiv.resolve` reads expressions and files, this only the catalogue's names"
        )
    if name in WRAPPERS:
        wrapper = WRAPPERS[name]
        return (
            f"{name} is no f-divergence but a monotone wrapper of alpha: {wrapper.meaning}. In Python "
            f"fdiv.monotone.{wrapper.call} turns a value of alpha into it, and its .gaussian(s) is its "
            f"value between Gaussians; to train, take alpha, which increases with it"
        )
    near = difflib.get_close_matches(name.lower(), [*CATALOG, *ALIASES, *WRAPPERS], n=3)
    meant = f"; did you mean {' or '.join(near)}?" if near else ""
    return f"unknown divergence {name!r}{meant}; choose from {', '.join(CATALOG)}"


def read_parameters(spec: str, text: str, given: Mapping[str, object] = MappingProxyType({})) -> dict[str, object]:
    """Add param=value,param=value to those given, where a value may be a fraction; raises ParameterError."""
    values = dict(given)
    for pair in text.split(",") if text else []:
        key, equals, value = pair.partition("=")
        if not equals or key.strip() in values:
            raise ParameterError(f"{spec}: {pair!r} is not one param=value; write {spec}:param=value,param=value")
        values[key.strip()] = Fraction(value) if _FRACTION.fullmatch(value.strip()) else value
    return values
