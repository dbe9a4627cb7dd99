"""What the benchmarks run against one another, each in a process of its own."""
