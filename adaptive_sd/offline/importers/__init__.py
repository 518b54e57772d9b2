"""Outcome tables from what other programs have measured."""
