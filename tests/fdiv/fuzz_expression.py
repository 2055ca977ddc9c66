"""Coverage-guided fuzzing of the expression parser, for the thorough profile: needs `pip install atheris`.

python tests/fdiv/fuzz_expression.py -max_total_time=600
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["fdiv.expression"]):
    import fdiv
    from fdiv.expression import from_expression


def parse(data: bytes) -> None:
    """Read or refuse; anything else is a crash that the fuzzer reports with its input."""
    try:
        divergence = from_expression(atheris.FuzzedDataProvider(data).ConsumeUnicode(200))
    except fdiv.ExpressionError:
        return
    assert divergence.generator.free_symbols == {fdiv.u}


if __name__ == "__main__":
    atheris.Setup(sys.argv, parse)
    atheris.Fuzz()
