"""A replay as one page for people: frontier, calibration, stopping, examples, settings."""
