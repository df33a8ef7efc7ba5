"""Handlers: one function for each endpoint of the API."""
