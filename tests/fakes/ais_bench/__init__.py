"""A stand-in for the package `ais_bench`."""
