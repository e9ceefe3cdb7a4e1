"""What is done to a tensor (operators) and when (schedules)."""
