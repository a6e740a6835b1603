"""Every method, its peers and fewer steps over families, samplers, step counts and guidance: quality at measured time."""
