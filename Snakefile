"""The workflow, as Snakemake finds it from the top of a clone."""


include: "workflow/Snakefile"


workflow.default_target = "all"  # an included file cannot say so
