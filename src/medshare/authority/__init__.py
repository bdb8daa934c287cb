"""Registration authorities: running a small one, and what is kept here of those trusted."""
