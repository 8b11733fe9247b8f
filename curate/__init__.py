"""Turn prompts and raw model answers into preference data that can be trusted."""
