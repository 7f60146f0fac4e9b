"""The audit: raises flags, reasons not to trust a number, see ``docs/flags.md``. It changes no score."""
