"""Everything that fine_tune.py stands on."""
