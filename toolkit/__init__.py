"""A single-GPU efficiency toolkit for GRPO: recipes on Unsloth, vLLM and TRL, with the parts they stand on."""

__version__ = "0.1.0"
