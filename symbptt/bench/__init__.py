"""Times of a kernel beside its bare matrix products and beside the same cell in other frameworks."""
