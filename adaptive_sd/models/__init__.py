"""Model files by name: catalogue, download, verification."""
