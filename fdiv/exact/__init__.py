"""What SymPy does exactly: symbols, normal forms, expansions, inversion."""
