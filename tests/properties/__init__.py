"""Laws over random cells, shapes and values."""
