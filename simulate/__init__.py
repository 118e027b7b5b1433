"""Faults on purpose: random marketplaces against the real service while it is broken, and a checker of what is left."""
