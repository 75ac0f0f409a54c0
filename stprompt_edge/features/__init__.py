"""Features of videos on disk: what the packed encoder sees in every sampled frame, made once and trained on often."""
