"""What trainings learn from: packs of photographs, crops of them, dead leaves, pictures of one size."""
