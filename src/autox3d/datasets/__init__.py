"""Which videos a data set has: annotations, lists for transcoding, tables of clips, the demo."""
