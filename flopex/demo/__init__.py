"""The demo: a whole exchange on one machine, with real workers, real prompts and real settlement."""
