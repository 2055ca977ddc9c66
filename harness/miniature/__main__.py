"""`python -m harness.miniature build --output DIR [--without CONCEPT]`: train the miniature from scratch."""

import sys
from collections.abc import Sequence

import tyro

from harness.miniature import world
from harness.miniature.build import Build, build
from harness.report import quieten_libraries


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns its exit code."""
    quieten_libraries()
    options = tyro.extras.subcommand_cli_from_dict(
        {"build": Build}, args=arguments, prog="python -m harness.miniature", description=__doc__
    )
    known = [value for values in world.AXES.values() for value in values]
    if unknown := [concept for concept in options.without if concept not in known]:
        print(f"error: --without {unknown[0]!r}: choices: {', '.join(known)}", file=sys.stderr)
        return 2
    if options.encoders is not None and not (options.encoders / "model_index.json").is_file():
        print(
            f"error: --encoders {options.encoders}: no miniature there; give a folder that `build` wrote",
            file=sys.stderr,
        )
        return 2
    for part, shares in build(options).items():
        print(part, ", ".join(f"{axis} {share:.3f}" for axis, share in shares.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
