"""What every room stands on: errors, atomic files, schemas, settings. No torch."""
