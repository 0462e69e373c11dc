"""What ``tools/bench.py`` times, and how: cases by subject, libraries, worker processes, and the tables of results."""
