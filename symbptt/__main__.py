"""`python -m symbptt`."""

from symbptt.commands.main import main

if __name__ == "__main__":
    main()
