"""Calibration on prompts without answers: by agreement with the largest stage."""
