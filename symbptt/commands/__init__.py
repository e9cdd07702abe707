"""The command line, and the files that its commands write."""
