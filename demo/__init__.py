"""Rendered CCTV, the demo encoder that is trained on it, and the bundle that ships: a workshop, not in the wheel."""
