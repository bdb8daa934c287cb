"""The record on disk: appended to durably, signed, searched, audited (docs/audit.md §4)."""
