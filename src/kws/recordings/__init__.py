"""What a data set holds: its archive, its clips and their speakers, its background recordings."""
