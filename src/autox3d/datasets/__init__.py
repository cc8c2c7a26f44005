"""Which videos there are: annotations, lists, tables of clips, the generated demo."""
