"""What bench/gpu_check is made of. Python's standard library only."""
