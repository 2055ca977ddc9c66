"""From SymPy expressions to numbers, for every array library."""
