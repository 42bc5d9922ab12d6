"""What a person sees: the console, tables and charts, and the live view of a run."""
