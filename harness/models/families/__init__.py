"""One file a family of models, found by being here; a file names a `Family` and the pipeline class it is for."""
