"""The user's vocabulary: roles, cells, models, symbolic arrays and the functions that compute with them."""
