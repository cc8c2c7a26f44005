"""A rule for each entry of dvc.yaml; what it runs, and whether, bridge.py says."""

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
