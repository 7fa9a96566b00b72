"""How things look on a terminal: numbers, ladders, tables. Nothing here talks to anyone."""
