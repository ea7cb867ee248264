"""Imported by a test."""
