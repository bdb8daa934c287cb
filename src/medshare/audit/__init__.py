"""The record: entries that cannot be rewritten unnoticed, and what proves it (docs/audit.md)."""
