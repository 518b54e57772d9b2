"""The two-stage proof of concept of the guide: measure, decide, report."""
