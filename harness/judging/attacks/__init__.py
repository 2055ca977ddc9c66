"""One file an attack, found by being here: its `ATTACK`."""
