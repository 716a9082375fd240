"""The same game on other servers, for benchmarks run with `--peers`."""
