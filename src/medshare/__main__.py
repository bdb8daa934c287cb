"""`python -m medshare` is the same as `medshare`."""

from medshare.cli import main

if __name__ == "__main__":
    main()
