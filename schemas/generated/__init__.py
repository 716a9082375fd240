"""Made by `make schemas` from the .fbs files; never edited."""
