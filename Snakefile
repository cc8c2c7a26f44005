"""dvc.yaml, for Snakemake: one rule for each entry, the items of a matrix as a wildcard."""

from autox3d.pipeline import bridge

ENTRIES = bridge.rules(
    main=workflow.is_main_process, dry=workflow.output_settings.dryrun
)


rule all:
    input:
        [bridge.stamp(stage) for entry in ENTRIES for stage in entry.stages],


for entry in ENTRIES:

    rule:
        name:
            entry.name
        input:
            entry.inputs,
        output:
            touch(bridge.stamp(entry.stage)),
        threads: entry.resources.get("cpus_per_task", 1)
        resources:
            **{"nodes": 1, "gpu": 0, **entry.resources},
        params:
            stage=entry.stage,
        shell:
            "python -m autox3d.pipeline.bridge {params.stage}"
