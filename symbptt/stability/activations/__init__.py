"""One elementwise function: its slopes, suprema, ranges, Gaussian moments."""
