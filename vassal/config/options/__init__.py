"""The option table's rows, a module for each family."""
