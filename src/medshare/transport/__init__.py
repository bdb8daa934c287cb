"""Ways between two ends: a relay over HTTPS, a folder, and others behind one interface."""
