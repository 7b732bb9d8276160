"""Architectures: torch modules alone, which know nothing of priors, files or schedules."""
