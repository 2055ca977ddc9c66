"""D_f between two given distributions, and the best constants between two divergences."""
