"""What may be said to each command: its options and its help. Nothing here imports PyTorch."""
