"""The package that the three scripts stand on, one folder a subject; docs/code.md tells which does what."""
