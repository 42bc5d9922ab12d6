"""The plan that is wanted among many: the nearest that fits, the largest, vLLM's share of the card."""
