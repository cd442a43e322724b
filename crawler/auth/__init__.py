"""Credentials: one module a scheme, each sans-IO; none knows another."""
