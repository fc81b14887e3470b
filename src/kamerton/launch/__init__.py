"""Starting a command on several processes: here by torch's elastic agent, elsewhere by a job file."""
