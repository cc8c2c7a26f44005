"""The commands of `autox3d`, by what they work on."""
