"""Benchmarks on other machines, over SSH: what is sent, how, and what comes back."""
