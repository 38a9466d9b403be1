"""An arm64 Python under qemu-user, the boards it plays, and what an inference costs there."""
