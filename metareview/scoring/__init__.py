"""What is measured of texts, and what differs between models."""
