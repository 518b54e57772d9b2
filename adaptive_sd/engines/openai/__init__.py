"""Served models: any OpenAI-compatible endpoint."""
