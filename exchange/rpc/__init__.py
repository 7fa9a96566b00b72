"""The gRPC edge: servicers, interceptors, and the one place that converts proto to core types."""
