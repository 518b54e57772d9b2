"""Live measurements: the decision core, the ladder, drafts against other ways to answer."""
