"""The models that are compared, and the texts that they write."""
