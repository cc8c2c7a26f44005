"""What searching, training and testing share: a change in here does all three again."""
