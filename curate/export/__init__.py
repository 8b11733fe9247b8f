"""Exports: from committed parts to datasets that trainers read."""
