"""Attribution maps: reduction to one channel, ranks, random numbers of an image, certificates."""
