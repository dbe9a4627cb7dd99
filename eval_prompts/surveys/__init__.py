"""What tuning changed over many questions: figures over a set of texts, and score and forgetting against strength."""
