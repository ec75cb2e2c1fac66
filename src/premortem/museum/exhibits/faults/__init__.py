"""What the world does to a program: connections, disks, clocks, names and certificates that fail."""
