"""What no attack within a radius can exceed."""
