"""What files are and how they are opened. Refuses to know what is read from or written to them."""
