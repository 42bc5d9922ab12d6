"""The test bench of rewards: try, check and attack a reward function without a model, a card or torch."""
