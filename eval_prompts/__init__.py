"""Everything that asks and judges: probes, the model pair, decoding, verdicts, ratings, reports."""
