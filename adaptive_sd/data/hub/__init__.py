"""Task sets of the public hub, each by its published schema; needs the extra `datasets`."""
