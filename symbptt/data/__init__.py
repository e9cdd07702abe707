"""Series from files, and random inputs where there are none."""
