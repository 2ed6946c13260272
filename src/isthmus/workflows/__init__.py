"""Jobs that walk through several folders: audit, recommend, demo."""
