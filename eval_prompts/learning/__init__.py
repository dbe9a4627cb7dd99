"""Where answering meets training: answers for runs, scores of runs, and what a scoring or votes can teach."""
