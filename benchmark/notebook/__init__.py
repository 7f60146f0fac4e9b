"""One call from Python: any network and tensors of images are evaluated as a run evaluates its own."""
