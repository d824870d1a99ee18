"""Rules: how an author declares the maths of one array, and what a user's call makes of it."""
