"""The loop IR: a sweep as loops, elementwise loops and products over buffers, before it is text of any language."""
