"""What `pip install autox3d` leaves out, and the extra that brings it.

The core predicts, counts costs and exports a .pt2. Everything else needs `autox3d[EXTRA]`; modules
of an extra are imported where they are used, so that a command needs what it uses and no more.
"""

from __future__ import annotations

EXTRAS = {  # extra: the modules that this package imports from it
    "render": ("ffmpeg", "imageio_ffmpeg"),
    "export": ("onnx", "onnxruntime", "onnxscript"),
    "serve": ("mlflow", "sqlalchemy"),
    "report": ("cycler", "jinja2", "matplotlib", "textalloc"),
    "pipeline": (
        "dvc",
        "dvc_data",
        "networkx",
        "pandas",
        "pyarrow",
        "snakemake",
        "snakemake_interface_common",
    ),
    "slurm": ("snakemake_executor_plugin_slurm",),
    "postgres": ("psycopg2",),
    "hub": ("huggingface_hub",),
}


def missing(error: ModuleNotFoundError) -> str | None:
    """The line for a module that an extra would bring; None for any other."""
    module = (error.name or "").partition(".")[0]
    for extra, modules in EXTRAS.items():
        if module in modules:
            return f'{module}: is not installed. Type: pip install "autox3d[{extra}]"'
    return None
