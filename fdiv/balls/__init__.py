"""Ball arithmetic: signs on an interval, tails, zeros."""
