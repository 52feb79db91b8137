"""A model and decoded images -> predictions; nothing here sees a label."""
