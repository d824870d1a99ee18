"""One file for each published algorithm: its rule, its `scale_by_x`, its optimizer `x`."""
