"""Load hosting capacity of buildings, one by one and together."""
