"""The groups of settings, one file each: what an operator can set, its default and its meaning."""
