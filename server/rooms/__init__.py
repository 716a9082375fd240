"""What game developers use: Room, its fields, and the loop that ticks it."""
