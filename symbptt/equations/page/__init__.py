"""The lines of a page, in the order of the loop or of a textbook, with definitions and legend."""
