"""What runs in the cluster; nothing here imports PyTorch."""
