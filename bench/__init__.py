"""Benchmarks: each row is a ratio of two things measured side by side in one run. ``make bench`` runs all of them."""
