"""What attacks are made of: finishing pictures, learning words and conditionings, fine-tuning."""
