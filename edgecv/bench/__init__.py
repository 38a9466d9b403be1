"""Measure a model on this machine: latency by stage, cold start, memory."""
