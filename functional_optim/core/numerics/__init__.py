"""Array maths that knows no tree: precision, casting, moments, rounding, validation."""
