"""What was asked for, resolved and checked."""
