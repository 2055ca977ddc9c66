"""The trusted core: claims verified again from JSON, with python-flint and the standard library alone."""
