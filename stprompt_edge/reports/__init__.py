"""What all charts and pages look like; below all that shows something on them."""
