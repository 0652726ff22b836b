"""What the three scripts stand on: one subject a module. docs/code.md tells which module does what."""
