"""Arrays, statistics, seeds and the merge of best rows: what every other folder may use."""
