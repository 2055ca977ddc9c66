"""What a person reads of a divergence: facts, readable formulas, pictures."""
