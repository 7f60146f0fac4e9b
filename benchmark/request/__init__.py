"""The request: a command's options, resolved and checked."""
