"""The siting decision: tables in, plan and certificate out."""
