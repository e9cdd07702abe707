"""What a user writes: roles, cells, models, symbolic arrays and the functions that compute with them."""
