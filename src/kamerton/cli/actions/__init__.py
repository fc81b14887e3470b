"""What each command does: thin faces over the stages, imported when the command runs."""
