"""Policies compared on recorded outcomes: chosen on one half of a table, measured on the other."""
