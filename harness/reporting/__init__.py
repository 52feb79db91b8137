"""What people read: environment facts, tables, lines."""
