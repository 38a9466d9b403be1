"""Trackers, one module each: objects of one frame find those of the next."""
