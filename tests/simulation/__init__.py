"""The whole exchange in one thread of virtual time, and everything that can go wrong with it."""
