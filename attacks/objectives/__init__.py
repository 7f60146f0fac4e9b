"""What an attack lowers: functions of a map."""
