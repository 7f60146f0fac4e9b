"""Reasons not to trust a number; ``docs/flags.md`` says what each flag means. Nothing here changes a score."""
