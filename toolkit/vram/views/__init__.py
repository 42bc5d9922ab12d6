"""What `toolkit plan` and a run's start say: the plan, tables, the largest that fits, a simulation, a calibration."""
