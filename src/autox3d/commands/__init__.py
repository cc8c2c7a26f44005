"""The commands of `autox3d`, grouped by what they work on."""
