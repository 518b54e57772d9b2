"""Task sets, grading and outcome tables."""
