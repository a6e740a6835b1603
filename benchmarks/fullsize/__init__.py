"""Times the published networks at full size, with random weights, sampled by the host without and with a cache."""
