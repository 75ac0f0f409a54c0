"""What all charts and pages look like."""
