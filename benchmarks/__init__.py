"""Side-by-side measurements; each prints ratios, since absolute times mean little."""
