"""The pair as a service: loading, asking, limits, remote sides, and its status."""
