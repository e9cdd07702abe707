"""`python -m symbptt`."""

from symbptt.cli import main

if __name__ == "__main__":
    main()
