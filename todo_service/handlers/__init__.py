"""Handlers: one function for each endpoint."""
