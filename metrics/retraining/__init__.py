"""Retraining metrics: accuracy of networks trained on images whose pixels were removed in the order of a map."""
