"""Faithfulness metrics: whether a map shows what the network's output depends on."""
