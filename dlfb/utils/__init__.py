"""Helpers that know no biology."""
