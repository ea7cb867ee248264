"""The log of a vassal: lines of requests and of its processes, how they look, and where they go."""
