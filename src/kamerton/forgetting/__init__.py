"""The probe of what tuning cost elsewhere, and its decision."""
