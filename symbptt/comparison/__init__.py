"""Several designs trained or analysed on the same data, in parallel, as one table."""
