"""What happens around every call: request id, key, deadline, counters, errors."""
