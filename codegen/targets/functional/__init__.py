"""A program as functions of whole arrays that change none: the native text for torch and for JAX."""
