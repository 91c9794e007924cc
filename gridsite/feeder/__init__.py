"""From a utility's files to one electrical model and its power flow."""
