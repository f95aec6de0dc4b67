"""mailmoat: an edge mail transport."""
