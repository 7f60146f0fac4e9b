"""Published boards: folders of ``results/`` whose numbers are held to rules, computed again, contested and added to."""
