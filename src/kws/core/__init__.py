"""What everything stands on: errors, files that appear whole, paths, parameters, the start of a stage."""
