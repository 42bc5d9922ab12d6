"""What runs in the sandbox's own processes: the standard library only, each module imported by its bare name.

`enter.py` is the script that a sandbox starts. It isolates itself, and forks the process that gets the code.
"""
