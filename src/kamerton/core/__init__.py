"""Plain values: errors, records, outcomes, contracts, the registry of plug-ins, files, the system."""
