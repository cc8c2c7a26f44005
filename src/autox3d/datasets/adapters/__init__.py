"""One file a data set: its name is what `annotate.dataset` in params.yaml may say.

Each file has three names, and nothing else has to know of it (`annotations.Adapter`):

    REQUIRED, OPTIONAL  the annotation files that `annotate.files` must and may name
    read(root, videos, files) -> Annotations
"""
