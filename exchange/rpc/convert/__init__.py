"""The one place that converts between proto and core types, a module per service."""
