"""The harness: the only place that knows all four axes."""

from attrobust import check_rooms

check_rooms()
