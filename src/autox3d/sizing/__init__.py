"""What a network costs, and the same network at other sizes. No torch."""
