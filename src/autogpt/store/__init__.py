"""What is remembered: the database of runs, trials and models, and files that are written whole."""
