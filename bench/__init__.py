"""Benchmarks: ``make bench`` measures the whole mirror path beside its peers. Not part of the package or the tests."""
