"""The guide's path of `optimal_stopping_rule`."""

from adaptive_sd import optimal_stopping_rule

__all__ = ["optimal_stopping_rule"]
