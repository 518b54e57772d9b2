"""The guide's path of `Stage`."""

from adaptive_sd import Stage

__all__ = ["Stage"]
