"""The harness: the only place that knows all four axes."""

if __name__ == "benchmark":
    raise ImportError("import attrobust.benchmark, not benchmark: this folder is a part of attrobust")
