"""Features, predictor, stopping rule and policies; numpy and scikit-learn only."""
