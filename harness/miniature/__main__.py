"""`python -m harness.miniature build --output DIR [--without CONCEPT]`: train the miniature from scratch."""

import sys
from collections.abc import Sequence

import tyro

from harness.config import UsageError
from harness.miniature.build import Build, build
from harness.show.screen import quieten_libraries


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns its exit code."""
    quieten_libraries()
    options = tyro.extras.subcommand_cli_from_dict(
        {"build": Build}, args=arguments, prog="python -m harness.miniature", description=__doc__
    )
    try:
        quality = build(options)
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for part, shares in quality.items():
        print(part, ", ".join(f"{axis} {share:.3f}" for axis, share in shares.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
