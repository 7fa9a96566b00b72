"""The demo: a whole exchange on one machine, with real workers, prompts and settlement."""
