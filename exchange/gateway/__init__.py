"""The edge of the exchange: takes calls over gRPC, admits them, and hands them to an `Api`."""
