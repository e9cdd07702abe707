"""The elementwise parts of a step in exact algebra and in intervals."""
