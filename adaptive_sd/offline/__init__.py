"""Record, export, fit and measure; nothing that a live answer needs."""
