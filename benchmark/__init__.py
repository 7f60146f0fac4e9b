"""The harness: the only place that knows all four axes."""

from attrobust.places import refuse_bare_name

refuse_bare_name(__name__)
