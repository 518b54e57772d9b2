"""Algorithms under the guide's paths."""
