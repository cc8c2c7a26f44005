"""Convolutions at the speed of the device at hand."""
