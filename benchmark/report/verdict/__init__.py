"""Who wins: of each method the accuracies, the worst cases and insertion with their ranks, before all tables."""
