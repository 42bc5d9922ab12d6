"""Will it fit, and what should change: memory and time of a run, planned without torch and without a card."""
