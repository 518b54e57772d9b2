"""How many replicas of each stage a load needs: docs/scale.md."""
