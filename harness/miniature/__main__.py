"""`python -m harness.miniature build --output DIR [--denoiser sd3] [--encoders DIR] [--without CONCEPT]`: train one."""

import sys
from collections.abc import Sequence

import tyro

from harness.miniature.build import Build, build
from harness.runs.command import quieten_libraries
from harness.runs.ends import run_command


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns its exit code."""
    quieten_libraries()
    options = tyro.extras.subcommand_cli_from_dict(
        {"build": Build}, args=arguments, prog="python -m harness.miniature", description=__doc__
    )
    return run_command(lambda: _report(build(options)))


def _report(quality: dict[str, dict[str, float]]) -> None:
    for part, shares in quality.items():
        print(part, ", ".join(f"{axis} {share:.3f}" for axis, share in shares.items()))


if __name__ == "__main__":
    sys.exit(main())
