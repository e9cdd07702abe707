"""The version of symbptt, which stands in all that it writes."""

VERSION = "0.1.0"
