"""How curved a network is."""
