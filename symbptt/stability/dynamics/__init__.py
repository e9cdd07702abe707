"""Fixed points, their branches and crossings, populations of units."""
