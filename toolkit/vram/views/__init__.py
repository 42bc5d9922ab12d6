"""What `toolkit plan` and a run say: the plan, tables, the largest that fits, a simulation, a calibration."""
