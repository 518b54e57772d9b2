"""The module paths of the getting-started guide; everything comes from adaptive_sd."""
