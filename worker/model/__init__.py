"""The adaptive model: its forms, its gate, its training and its baselines."""
