"""The guide's path of `QualityPredictor`."""

from adaptive_sd import QualityPredictor

__all__ = ["QualityPredictor"]
