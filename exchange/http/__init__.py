"""HTTP: health, metrics, the public overview and the page.

`app` is the edge that serves them. `views` is what it shows, and may be in another process; what
they show beyond the state machine and the engine is handed to them as `sources`.
"""
