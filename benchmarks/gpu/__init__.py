"""The parts of `benchmarks/gpu_check.py`, the lowest last.

report       lines and tables
check        the course of a check, and the JSON after each cell
results      what a cell found beside its plan, and what all come to
checkpoints  random models, written ahead
supervise    a cell in a process, with a time limit
worker       that process
flagship     the whole path of a recipe, step by step
update       load, GRPO steps, decoding, and what they take
numerics     does the card compute what it should
plans        what the planner says of a cell, and what fits
cells        what is measured, in the order of its value
"""
