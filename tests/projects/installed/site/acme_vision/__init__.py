"""A package as it lies in an environment; the test puts `site` on the module search path."""
