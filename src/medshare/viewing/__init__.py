"""Showing files that are in memory only: what they are, and a page for this machine's browser."""
