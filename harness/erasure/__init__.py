"""An erasure from its model to its report: what the command line and `harness.erase` have in common."""
