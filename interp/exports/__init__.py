"""Directions and models as files that other programs read, and models that a key opens."""
