"""Models and predictors under the guide's paths."""
