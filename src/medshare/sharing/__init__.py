"""The application: send, receive, verify and receipts, above all layers that do one thing."""
