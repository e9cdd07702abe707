"""The loop IR: statements over buffers, independent of any language, and walks of them."""
