"""What engines share whose models answer in increments, out of our sight: served or in process."""
