"""REST: the API's methods as plain HTTP, by one table.

`table` says which request is which method; `messages` makes the method's message of a request and
JSON of its answer; `answers` serves them, streams included.
"""

from exchange.http.rest.answers import routes

__all__ = ["routes"]
