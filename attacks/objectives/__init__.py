"""Objectives that attacks minimise: functions of a map."""
