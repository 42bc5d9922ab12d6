"""Will it fit, and what should change: the memory and the time of a run, planned without torch and without a card."""
