"""Each law of an f-divergence once: its statement, its oracle and its points; read by the theorems and the tests."""
