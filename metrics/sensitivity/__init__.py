"""How far a map moves under random noise."""
