"""Whatever runs a model: one protocol, an engine a folder."""
