"""What a person at a terminal does with a sweep, and sees of it: launched, watched, asked for something."""
