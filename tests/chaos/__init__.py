"""Kills, power cuts, traces and sabotage: what proves that outputs can be trusted; `make chaos` runs all of it.

Everything here judges from outside: the server's own log and digests, and readers that others wrote.
"""
