"""The emperor: watches directories of vassal files and keeps each vassal as its file says."""
