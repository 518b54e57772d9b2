"""Studies of a recorded ladder: its lambda, its length, and the sets that it answers."""
