"""A project as people have it: a LightningCLI script, and the configuration it was trained with."""
