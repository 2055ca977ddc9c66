"""How a change of weights is written: as thin factors, and under the names that other programs have for tensors."""
