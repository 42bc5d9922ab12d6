"""All that is known about other people's releases: one function a quirk, each with a removal condition."""
