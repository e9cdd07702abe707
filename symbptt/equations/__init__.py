"""Mathematics as text: expressions as data, the signs that write them, the pages that they stand on."""
