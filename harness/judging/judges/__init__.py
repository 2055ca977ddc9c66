"""One file a kind of judge, found by being here: `present(folder)` and `load(folder)`."""
