"""What several explainers share: chunks, noise, masks, segments."""
