"""Among many plans the one that is wanted: the nearest that fits, the largest, vLLM's share."""
