"""Files that a worker serves itself: which request means which file, and how it is sent.

`rules`, `choice` and `ranges` decide and touch nothing; `opening` looks at the file system, `serving` answers.
"""
