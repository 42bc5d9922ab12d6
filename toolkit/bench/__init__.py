"""Sweeps: a grid of runs, each in a process of its own, and what they took."""
