"""Official codes of published attacks: the steps and maps of ``variant=paper``."""
