"""What the kernel shows of D(s) and w(s) between Gaussians: closed forms by moments, quadratures by their error."""
