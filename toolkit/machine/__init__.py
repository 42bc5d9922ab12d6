"""The machine a run is on: its cards, the processes of the run, whether the Hub answers, what is installed."""
