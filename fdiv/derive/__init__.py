"""From a generator to its conjugate, activation and values between Gaussians."""
