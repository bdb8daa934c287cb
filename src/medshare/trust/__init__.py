"""Who is who: cards, and later credentials, grants and roles.  Pure; `now` is an argument."""
