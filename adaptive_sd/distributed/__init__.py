"""A ladder on the machines of a Ray cluster; Ray is imported when it is used."""
