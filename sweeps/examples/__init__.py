"""Sweeps that run as they are, each a module, its data and a YAML file."""
