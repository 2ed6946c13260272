"""From a report's plain dict to what people read: a page, a terminal table, Markdown.

Nothing here measures. Numbers come from the dict and are only rounded.
"""
