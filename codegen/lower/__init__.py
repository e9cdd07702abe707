"""From a placed program to the loop IR: one rule a family, one file a sweep."""
