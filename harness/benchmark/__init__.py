"""What a step costs, side by side with a loop that does as the official recipe does."""
