"""What the bank is asked."""
