"""Decide where building-mounted compute goes on a distribution grid."""
